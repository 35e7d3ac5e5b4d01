"""The image, as far as it can be made without Docker: what gets into it, and that it runs."""

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
from runtime.supervisor import MALLOC_ENVIRONMENT
from tests.served import server_process
from tools.deploy_check import linters
from web.pages.guides import GUIDES

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LAST_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
[REMOVED] = re.findall(r"^RUN rm -r (.+)$", DOCKERFILE, re.MULTILINE)


def tracked() -> list[str]:
    """The files of the repository, and those that are about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def is_sent(name: str) -> bool:
    """Whether .dockerignore lets a file into the build; its last pattern that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if line and not line.startswith("#") and _fits(name, pattern):
            sent = line.startswith("!")
    return sent


def _fits(name: str, pattern: str) -> bool:
    folders = [str(folder) for folder in Path(name).parents if str(folder) != "."]
    return any(fnmatch(part, pattern) for part in (name, *folders))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The program's directory as the last stages of the Dockerfile make it."""
    folder = tmp_path / "image"
    for name in filter(is_sent, tracked()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["rm", "-r", *REMOVED.split()], cwd=folder, check=True)
    (folder / "services" / "dqmsquare_k8_wrapper.sh").rename(folder / "dqmsquare_k8_wrapper.sh")
    (folder / "services").rmdir()
    shutil.copytree(ROOT / "static" / "vendor", folder / "static" / "vendor")
    (folder / "COMMIT").write_text("0123456789ab\n")
    return folder


def test_hadolint_finds_nothing() -> None:
    assert linters.dockerfile_problems(ROOT) == []


def test_nothing_else_gets_into_it(image: Path) -> None:
    for name in (
        ".env",
        ".git",
        "tests",
        "log",
        "simulator",
        "k8_secret.yaml",
        "docs/operator.md",
        "benchmarks",
        "tools",
        "requirements.txt",
        "package.json",
    ):
        assert not (image / name).exists()


def test_the_guides_get_into_it(image: Path) -> None:
    assert {path.stem for path in (image / "docs").iterdir()} == set(GUIDES)


def test_every_part_can_be_loaded_from_it(image: Path) -> None:
    modules = ", ".join({module for module, _ in dqmsquare_mirror.COMMANDS.values()} - {"simulator.__main__"})
    done = subprocess.run(
        [sys.executable, "-B", "-c", f"import {modules}, db; print(db.head_revision(), db.__file__)"],
        cwd=image,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(image) in done.stdout


def test_what_it_starts_are_parts_of_the_program() -> None:
    [entry] = re.findall(r'^ENTRYPOINT \["python", "(.+)"\]$', LAST_STAGE, re.MULTILINE)
    [command] = re.findall(r'^CMD \["(\w+)"\]$', LAST_STAGE, re.MULTILINE)
    [check] = re.findall(
        r'^HEALTHCHECK .* CMD \["python", "dqmsquare_mirror.py", "(\w+)"\]$', LAST_STAGE, re.M
    )
    assert (ROOT / entry).is_file()
    assert {command, check} <= dqmsquare_mirror.COMMANDS.keys()


def test_neither_compilers_nor_npm_get_into_it() -> None:
    assert LAST_STAGE.startswith("\nFROM ${RUNTIME_IMAGE}\n")
    assert "\nARG RUNTIME_IMAGE=python:3.11-slim\n" in DOCKERFILE
    assert not re.search(r"apt-get|pip install|npm", LAST_STAGE)


@pytest.mark.parametrize("path", ["Dockerfile", "services/dqmsquare_mirror@.service"])
def test_it_sets_the_allocator_as_supervised_processes_do(path: str) -> None:
    found = dict(re.findall(r"\b(MALLOC_[A-Z_]+)=(\d+)", (ROOT / path).read_text()))
    assert found == MALLOC_ENVIRONMENT


def test_it_is_served_from_a_folder_that_it_can_not_write_to(
    image: Path, environment: dict[str, str]
) -> None:
    for path in (image, *image.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = (sys.executable, str(image / "dqmsquare_mirror.py"), "server")
    with server_process({**environment, "PYTHONDONTWRITEBYTECODE": "1"}, *command) as server:
        assert server.get("/readyz").json()["version"] == f"{version.NUMBER} (0123456789ab)"
        assert server.get("/").ok
    assert not list(image.rglob("__pycache__"))


@pytest.fixture
def libraries(tmp_path: Path) -> Iterator[Path]:
    """An environment made as the Dockerfile makes the image's."""
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
def test_it_runs_on_the_libraries_that_it_has_alone(
    image: Path, libraries: Path, environment: dict[str, str]
) -> None:
    command = (str(libraries), str(image / "dqmsquare_mirror.py"), "server")
    with server_process(environment, *command) as server:
        assert server.get("/readyz").json()["ready"] is True
    for words in (["grabber", "--help"], ["migrate"], ["server", "--version"]):
        subprocess.run(
            [str(libraries), str(image / "dqmsquare_mirror.py"), *words], env=environment, check=True
        )
