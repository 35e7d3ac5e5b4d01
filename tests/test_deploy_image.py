"""The container image, as far as it can be built without Docker: its files, and that it runs."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import dqmsquare_mirror
from runtime import version
from runtime.supervisor import MEMORY_ENVIRONMENT
from tests.served import server_process
from tools.deploy_check import linters
from web.pages.guides import GUIDES

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LAST_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
[REMOVED] = re.findall(r"^RUN rm -r (.+)$", DOCKERFILE, re.MULTILINE)


def tracked() -> list[str]:
    """Files of the repository, untracked ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def is_in_context(name: str) -> bool:
    """Whether a file is in the build context; the last matching pattern of .dockerignore decides."""
    included = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and _matches(name, pattern):
            included = line.startswith("!")
    return included


def _matches(name: str, pattern: str) -> bool:
    folders = [str(folder) for folder in Path(name).parents if str(folder) != "."]
    return any(fnmatch(part, pattern) for part in (name, *folders))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program's directory as the last stages of the Dockerfile make it, read-only."""
    folder = tmp_path_factory.mktemp("of-container") / "image"
    for name in filter(is_in_context, tracked()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["rm", "-r", *REMOVED.split()], cwd=folder, check=True)
    (folder / "services" / "dqmsquare_k8_wrapper.sh").rename(folder / "dqmsquare_k8_wrapper.sh")
    (folder / "services").rmdir()
    shutil.copytree(ROOT / "static" / "vendor", folder / "static" / "vendor")
    (folder / "COMMIT").write_text("0123456789ab\n")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def test_hadolint_accepts_the_dockerfile() -> None:
    assert linters.dockerfile_problems(ROOT) == []


def test_it_has_only_files_of_the_programs(image: Path) -> None:
    assert {path.name for path in image.iterdir()} == {
        "COMMIT",
        "config",
        "db.py",
        "db_commands.py",
        "docs",
        "dqm2",
        "dqmsquare_cfg.py",
        "dqmsquare_k8_wrapper.sh",
        "dqmsquare_mirror.py",
        "grabber.py",
        "grabbing",
        "legacy_import",
        "migrations",
        "runtime",
        "server.py",
        "static",
        "storage",
        "templates",
        "web",
    }


def test_it_has_the_guides(image: Path) -> None:
    assert {path.stem for path in (image / "docs").iterdir()} == set(GUIDES)


def test_it_has_each_module_of_its_packages(image: Path) -> None:
    """So all commands but the simulator can be imported, as the programs import no other modules of ours."""
    packages = {path.name for path in image.iterdir()} - {"docs"}
    modules = {name for name in tracked() if name.endswith(".py") and name.partition("/")[0] in packages}
    assert {str(path.relative_to(image)) for path in image.rglob("*.py")} == modules


@pytest.mark.long
def test_all_commands_but_the_simulator_can_be_imported(image: Path) -> None:
    modules = ", ".join({module for module, _ in dqmsquare_mirror.COMMANDS.values()} - {"simulator.__main__"})
    printing = "from storage import schema; print(schema.head_revision(), schema.__file__)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", f"import {modules}; {printing}"],
        cwd=image,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(image) in done.stdout


def test_the_programs_import_only_what_it_has(image: Path) -> None:
    """PyInstaller would add tools and tests to the executable."""
    owners = {name: name.partition("/")[0].removesuffix(".py") for name in tracked() if name.endswith(".py")}
    lacking = set(owners.values()) - {path.name.removesuffix(".py") for path in image.iterdir()}
    assert {"benchmarks", "simulator", "tests", "tools"} <= lacking
    for name, owner in owners.items():
        if owner == "simulator" or owner not in lacking:
            imported = re.findall(r"^ *(?:from|import) (\w+)", (ROOT / name).read_text(), re.MULTILINE)
            assert not (lacking - {owner}).intersection(imported), name


def test_it_starts_existing_commands() -> None:
    [entry] = re.findall(r'^ENTRYPOINT \["python", "(.+)"\]$', LAST_STAGE, re.MULTILINE)
    [command] = re.findall(r'^CMD \["(\w+)"\]$', LAST_STAGE, re.MULTILINE)
    [check] = re.findall(
        r'^HEALTHCHECK .* CMD \["python", "dqmsquare_mirror.py", "(\w+)"\]$', LAST_STAGE, re.M
    )
    assert (ROOT / entry).is_file()
    assert {command, check} <= dqmsquare_mirror.COMMANDS.keys()


def test_it_has_neither_compilers_nor_npm() -> None:
    assert LAST_STAGE.startswith("\nFROM ${RUNTIME_IMAGE}\n")
    assert "\nARG RUNTIME_IMAGE=python:3.11-slim\n" in DOCKERFILE
    assert not re.search(r"apt-get|pip install|npm", LAST_STAGE)


def test_it_saves_memory_as_supervised_processes_do() -> None:
    assert _settings_of_memory("Dockerfile") == MEMORY_ENVIRONMENT


def test_the_unit_of_the_executable_does_so_except_for_python() -> None:
    of_malloc = {name: value for name, value in MEMORY_ENVIRONMENT.items() if name.startswith("MALLOC_")}
    assert _settings_of_memory("services/dqmsquare_mirror@.service") == of_malloc


def _settings_of_memory(path: str) -> dict[str, str]:
    return dict(
        re.findall(r"\b(MALLOC_[A-Z_]+|PYTHONOPTIMIZE|PYTHONNODEBUGRANGES)=(\d+)", (ROOT / path).read_text())
    )


@pytest.mark.long
def test_it_runs_from_a_read_only_directory(image: Path, environment: dict[str, str]) -> None:
    command = (sys.executable, str(image / "dqmsquare_mirror.py"), "server")
    with server_process({**environment, "PYTHONDONTWRITEBYTECODE": "1"}, *command) as server:
        assert server.get("/readyz").json()["version"] == f"{version.NUMBER} (0123456789ab)"
        assert server.get("/").ok
    assert not list(image.rglob("__pycache__"))


@pytest.fixture
def libraries(tmp_path: Path) -> Iterator[Path]:
    """Python of an environment that is created like the image's."""
    folder = tmp_path / "libraries"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--only-binary", ":all:", "--require-hashes"]
    subprocess.run([*pip, "install", *options, "--requirement", str(ROOT / "requirements.txt")], check=True)
    subprocess.run([*pip, "uninstall", "--yes", "pip", "setuptools"], check=True)
    yield python
    shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_it_runs_with_the_locked_libraries(image: Path, libraries: Path, environment: dict[str, str]) -> None:
    command = (str(libraries), str(image / "dqmsquare_mirror.py"), "server")
    # For root, nothing is read-only.
    environment = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}
    with server_process(environment, *command) as server:
        assert server.get("/readyz").json()["ready"] is True
    for words in (["grabber", "--help"], ["migrate"], ["server", "--version"]):
        subprocess.run(
            [str(libraries), str(image / "dqmsquare_mirror.py"), *words], env=environment, check=True
        )
