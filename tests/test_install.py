"""Installation: the installer's choice of Python, the locked requirements, and the Makefile's targets."""

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools import install

ROOT = Path(install.__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
LOCKS = sorted(ROOT.glob("requirements*.txt"))
# Environments that the locks support, as environment markers see them.
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")


def pins(lock: Path) -> dict[str, str]:
    """Versions in a lock by canonical name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+) \\$", lock.read_text(), flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def direct_requirements(path: Path) -> list[Requirement]:
    """Requirements of a `.in` file and of those that it includes."""
    found = []
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            found += direct_requirements(path.with_name(line.removeprefix("-r ")))
        elif line and not line.startswith("#"):
            found.append(Requirement(line))
    return found


def dependencies(name: str) -> list[Requirement]:
    """Requirements of an installed package in any supported environment, extras excluded."""
    environments = [
        {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "platform_machine": machine,
        }
        for python in PYTHONS
        for machine in MACHINES
    ]
    return [
        requirement
        for requirement in map(Requirement, distribution(name).requires or ())
        if requirement.marker is None
        or any(requirement.marker.evaluate({**each, "extra": ""}) for each in environments)
    ]


def test_an_outdated_python_can_parse_the_installer() -> None:
    source = (ROOT / "tools" / "install.py").read_text()
    ast.parse(source, feature_version=(3, 6))


def test_it_reports_the_python_version_that_it_requires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "MIN_VERSION", (99, 0))
    monkeypatch.setenv("PYTHON", sys.executable)
    with pytest.raises(install.InstallError, match=r"Python 99\.0 or newer is required"):
        install.find_python()


def test_it_uses_only_the_python_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    assert install.candidates() == [str(Path(sys.executable).resolve())]


def test_it_skips_a_python_that_does_not_run(tmp_path: Path) -> None:
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert install.version_of(str(broken)) == install.version_of(str(tmp_path / "none")) == (0,)


def test_it_recognizes_a_python_that_others_cannot_execute(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    python = closed / "python3"
    python.touch(mode=0o755)
    assert not install.is_executable_by_all(str(python))


def test_it_announces_system_packages_before_it_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps: list[str] = []
    monkeypatch.setattr("tools.install.shutil.which", lambda name: name if name == "apt-get" else None)
    monkeypatch.setattr("tools.install.os.getuid", lambda: 0)
    monkeypatch.setattr(install, "is_systemd_running", lambda: False)
    monkeypatch.setattr(
        install, "run_step", lambda *_: steps.append(capsys.readouterr().out.partition(":")[0])
    )
    install.install_system_packages("test")
    assert steps == ["installing system packages with apt-get", ""]


def test_it_lists_missing_system_packages_if_it_may_not_install_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.install.shutil.which", lambda _name: None)
    for target, browsers in (
        ("test", "chromium-headless-shell firefox-esr"),
        ("test-all", "chromium-headless-shell firefox-esr webkit2gtk-driver xvfb"),
    ):
        install.install_system_packages(target)
        assert f"apt-get install {browsers} systemd prometheus curl\n" in capsys.readouterr().out


def test_it_installs_no_package_that_would_start_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[list[str]] = []
    monkeypatch.setattr("tools.install.shutil.which", lambda name: name if name == "apt-get" else None)
    monkeypatch.setattr("tools.install.os.getuid", lambda: 0)
    monkeypatch.setattr(install, "run_step", lambda _description, command: steps.append(command))
    for is_running in (False, True):
        monkeypatch.setattr(install, "is_systemd_running", lambda is_running=is_running: is_running)
        install.install_system_packages("test")
    in_container, on_host = steps[1], steps[3]
    assert "prometheus" in in_container
    assert set(in_container) - set(on_host) == {"prometheus"}


def test_only_make_test_installs_system_packages() -> None:
    targets = re.findall(r"^([a-z -]+):.*\n(?:\t.*\n)*\t.*--system-packages", MAKEFILE, flags=re.MULTILINE)
    assert targets == ["test-setup test-all-setup"]
    users = re.findall(r"^([a-z-]+):.* (test(?:-all)?-setup)\b", MAKEFILE, flags=re.MULTILINE)
    assert users == [("test", "test-setup"), ("test-all", "test-all-setup")]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_the_direct_requirements_in_their_versions(lock: Path) -> None:
    locked = pins(lock)
    for requirement in direct_requirements(lock.with_suffix(".in")):
        assert Version(locked[canonicalize_name(requirement.name)]) in requirement.specifier


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_agrees_with_that_of_development(lock: Path) -> None:
    development = pins(ROOT / "requirements-dev.txt")
    assert {
        (name, version, development[name])
        for name, version in pins(lock).items()
        if development.get(name, version) != version
    } == set()


def test_the_locks_have_all_transitive_requirements() -> None:
    for lock in LOCKS:
        locked = pins(lock)
        for name in locked.keys() & pins(ROOT / "requirements-dev.txt").keys():
            missing = {r.name for r in dependencies(name) if canonicalize_name(r.name) not in locked}
            assert missing == set(), f"{lock.name}: {name}"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_hashes_and_no_download_addresses(lock: Path) -> None:
    text = lock.read_text()
    requirements = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert all("--hash=sha256:" in requirement for requirement in requirements)
    assert not re.search(r"//|--(index|extra|find|trusted)", text)


def test_make_without_arguments_lists_the_targets() -> None:
    done = subprocess.run(
        ["make", "--silent"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    documented = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE)
    assert [line.split()[1] for line in done.stdout.splitlines()] == documented


def test_every_benchmark_of_the_makefile_exists() -> None:
    [names] = re.findall(r"^BENCHMARKS := ((?:.*\\\n)*.*)$", MAKEFILE, flags=re.MULTILINE)
    for name in names.replace("\\\n", " ").split():
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()


def test_the_readme_mentions_only_existing_targets() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
