"""Puts in place what the mirror needs: `python3 tools/install.py [tests]`, for the tests too.

Makes `.venv`, installs the requirements into it and fetches the front-end libraries; what is in place is left
alone. It is the one program that a Python which is too old must be able to read, to be told so: its syntax
is Python 3.6's, and it uses the standard library alone.
"""

import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
DEMO_REQUIREMENTS = "requirements-demo.txt"
ALL_REQUIREMENTS = "requirements-dev.txt"
REQUIREMENTS = (DEMO_REQUIREMENTS, ALL_REQUIREMENTS)
# Programs that the tests drive, by Debian's packages: the names that they go by, and what they test.
PROGRAMS = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "the pages in a browser"),
    "systemd": (("systemd-analyze",), "the units"),
}
# How long a step that is told to end has for it.
END_WITHIN_S = 3
END_POLL_S = 0.05


class InstallError(Exception):
    """Something can't be put in place; the message says what to do."""


def main(arguments: "list[str]") -> int:
    """Installs for the demo and a run, with the argument `tests` for the tests too; 1 where that fails."""
    for_tests = arguments == ["tests"]
    try:
        make_environment()
        install_requirements(ALL_REQUIREMENTS if for_tests else DEMO_REQUIREMENTS)
        run("the front-end libraries", [VENV_PYTHON, "-B", os.path.join(ROOT, "tools", "frontend_libs.py")])
        if for_tests:
            install_programs()
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def make_environment() -> None:
    """Makes `.venv`, or makes it anew where its Python is gone or too old, or its making was cut off."""
    if version_of(VENV_PYTHON) >= OLDEST and (any(map(installed, REQUIREMENTS)) or has_pip()):
        return
    refuse_unwritable()
    python = suitable_python()
    say(f"making .venv with {python}")
    shutil.rmtree(VENV, ignore_errors=True)
    run("the virtual environment", [python, "-m", "venv", VENV])


def suitable_python() -> str:
    """A Python that is new enough and has venv; rather one that every user of the machine may run."""
    found = sorted(candidates(), key=lambda python: not is_open_to_all(python))
    new_enough = [python for python in found if version_of(python) >= OLDEST]
    if not new_enough:
        raise InstallError(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, and this is {sys.version.split()[0]}. "
            "Install one, or name it: make PYTHON=/path/to/python"
        )
    for python in new_enough:
        if has_venv(python):
            return python
    raise InstallError(
        f"{new_enough[0]} has no venv module; install it (on Debian: apt-get install python3-venv)"
    )


def candidates() -> "list[str]":
    """The Python that runs this, and where that was not named by hand, the others on PATH."""
    own = [os.path.realpath(sys.executable)]
    if os.environ.get("PYTHON"):
        return own
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    named = [path for folder in folders for path in sorted(glob.glob(os.path.join(folder, "python3*")))]
    fit = [path for path in named if re.search(r"/python3(\.\d+)?$", path) and os.access(path, os.X_OK)]
    return list(dict.fromkeys(own + fit))


def version_of(python: str) -> "tuple[int, ...]":
    """The version of a Python, (0,) if it can't be run."""
    question = "import sys; print(*sys.version_info[:2])"
    answer = answer_of([python, "-S", "-c", question])
    return tuple(int(part) for part in answer.split()) or (0,)


def has_venv(python: str) -> bool:
    """Whether a Python can make virtual environments; Debian's can't as it comes."""
    return answer_of([python, "-c", "import ensurepip, venv; print('yes')"]) == "yes"


def has_pip() -> bool:
    """Whether `.venv` can be installed into."""
    return bool(answer_of([VENV_PYTHON, "-m", "pip", "--version"]))


def is_open_to_all(python: str) -> bool:
    """Whether every user of the machine may run a Python: an environment of root's serves others then."""
    path = os.path.realpath(python)
    while os.stat(path).st_mode & 0o001:
        if path == os.path.dirname(path):
            return True
        path = os.path.dirname(path)
    return False


def answer_of(command: "list[str]") -> str:
    """What a command prints, nothing if it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode().strip()


def install_requirements(name: str) -> None:
    """Installs a file of requirements, unless it was and has not changed since."""
    wanted = digest_of_requirements()
    if wanted in (installed(name), installed(ALL_REQUIREMENTS)):
        return
    refuse_unwritable()
    say(f"installing {name}")
    pip = [VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    run("the requirements", [*pip, "--requirement", os.path.join(ROOT, name)])
    with open(stamp(name), "w") as file:
        file.write(wanted)


def installed(name: str) -> str:
    """The digest of the requirements as they were when `name` was installed, nothing if it was not."""
    return read(stamp(name)).decode() if os.path.exists(stamp(name)) else ""


def stamp(name: str) -> str:
    """The file that keeps what was installed."""
    return os.path.join(VENV, f"installed-{name}")


def digest_of_requirements() -> str:
    """A digest of all files of requirements: they include one another."""
    digest = hashlib.sha256()
    for path in sorted(glob.glob(os.path.join(ROOT, "requirements*.txt"))):
        digest.update(read(path))
    return digest.hexdigest()


def install_programs() -> None:
    """Installs what the tests drive and is missing: for root, by apt-get; or says what will not be tested."""
    for package, (names, what_for) in PROGRAMS.items():
        if not any(shutil.which(name) for name in names) and not install_package(package, what_for):
            say(f"THERE IS NO {package.upper()}: {what_for} will not be tested")
            say(f"On Debian: apt-get install {package}")


def install_package(package: str, what_for: str) -> bool:
    """Installs a package of Debian's for tests of something; whether it is there now."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return False
    say(f"installing {package}, for tests of {what_for}")
    apt_get = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    try:
        run("the list of packages", [*apt_get, "update"])
        run(package, [*apt_get, "install", "-y", "--no-install-recommends", package])
    except InstallError as error:
        say(str(error))
        return False
    return True


def refuse_unwritable() -> None:
    """Refuses to install into another user's clone."""
    if not os.access(ROOT, os.W_OK):
        raise InstallError(
            f"{ROOT} can't be written to by you, and its .venv is not complete or not for you to run; "
            "let its owner run make setup"
        )


def run(what: str, command: "list[str]") -> None:
    """Runs a step, and ends it with all that it started if this program is told to end."""
    step = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        status = step.wait()
    except KeyboardInterrupt:
        end(step)
        raise
    if status != 0:
        raise InstallError(f"{what} could not be installed; why stands above")


def end(step: "subprocess.Popen[bytes]") -> None:
    """Ends a step and all that it started as Ctrl-C would, with SIGKILL where that takes too long."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    deadline = time.monotonic() + END_WITHIN_S
    os.killpg(step.pid, signal.SIGINT)
    try:
        while time.monotonic() < deadline:
            step.poll()
            os.killpg(step.pid, 0)
            time.sleep(END_POLL_S)
        os.killpg(step.pid, signal.SIGKILL)
    except ProcessLookupError:
        # Nobody of its group is left.
        return
    step.wait()


def read(path: str) -> bytes:
    """The content of a file."""
    with open(path, "rb") as file:
        return file.read()


def say(line: str) -> None:
    """A line of what is being done."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # make hands on SIGTERM: it ends a step as Ctrl-C does, which in turn a shell's background may ignore.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
