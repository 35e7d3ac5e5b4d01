"""Installation of Python packages and front-end libraries: `python3 tools/install.py [--dev] …`.

Creates `.venv`, installs the locked requirements and downloads the front-end libraries; does nothing that is
already done. `--dev` installs the requirements of development, `--system-packages` also the Debian packages
that the tests of `make test` or `make test-all` drive. The syntax is that of Python 3.6, with the standard
library alone, so that a Python that is too old can report so.
"""

import argparse
import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

MIN_VERSION = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
DEMO_REQUIREMENTS = "requirements-demo.txt"
DEV_REQUIREMENTS = "requirements-dev.txt"
# Debian packages, their executables, and the tests that need them.
SYSTEM_PACKAGES = {
    # The shell, without the browser's own pages, takes a third of the CPU time; any Chromium serves.
    "chromium-headless-shell": (
        ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"),
        "browser tests",
    ),
    "firefox-esr": (("firefox-esr",), "browser tests in Firefox"),
    "webkit2gtk-driver": (("WebKitWebDriver",), "browser tests in WebKit"),
    "xvfb": (("Xvfb",), "browser tests in WebKit"),
    "systemd": (("systemd-analyze",), "checks of the systemd units"),
    "prometheus": (("promtool",), "tests of the alert rules"),
    "curl": (("curl",), "tests of the guide's examples"),
}
# Only tests that are marked `long` need these.
LONG_TEST_PACKAGES = ("webkit2gtk-driver", "xvfb")
# Debian starts the services of these packages when it installs them.
SERVICE_PACKAGES = ("prometheus",)
STOP_TIMEOUT_S = 3
STOP_POLL_S = 0.05


class InstallError(Exception):
    """Raised when an installation step fails; the message says what to do."""


def main(arguments: "list[str]") -> int:
    """Install; returns the exit status, 1 on failure."""
    parser = argparse.ArgumentParser(prog="install.py", description="Install what the mirror needs.")
    parser.add_argument("--dev", action="store_true", help="install the requirements of development too")
    parser.add_argument(
        "--system-packages",
        choices=("test", "test-all"),
        help="install the Debian packages that the tests of this target of make need (as root)",
    )
    chosen = parser.parse_args(arguments)
    try:
        create_venv()
        install_requirements(DEV_REQUIREMENTS if chosen.dev else DEMO_REQUIREMENTS)
        run_step(
            "the front-end libraries", [VENV_PYTHON, "-B", os.path.join(ROOT, "tools", "frontend_libs.py")]
        )
        if chosen.system_packages:
            install_system_packages(chosen.system_packages)
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def create_venv() -> None:
    """Create `.venv`, unless it is complete and its Python is new enough."""
    is_installed = any(map(installed_digest, (DEMO_REQUIREMENTS, DEV_REQUIREMENTS)))
    if version_of(VENV_PYTHON) >= MIN_VERSION and (is_installed or has_pip()):
        return
    check_writable()
    python = find_python()
    log(f"creating .venv with {python}")
    shutil.rmtree(VENV, ignore_errors=True)
    run_step("the virtual environment", [python, "-m", "venv", VENV])


def find_python() -> str:
    """Path of a Python that is new enough and has venv, preferably one that all users can execute."""
    found = sorted(candidates(), key=lambda python: not is_executable_by_all(python))
    recent = [python for python in found if version_of(python) >= MIN_VERSION]
    if not recent:
        raise InstallError(
            f"Python {MIN_VERSION[0]}.{MIN_VERSION[1]} or newer is required, not {sys.version.split()[0]}; "
            "install it, or name one: make PYTHON=/path/to/python"
        )
    for python in recent:
        if has_venv(python):
            return python
    raise InstallError(
        f"{recent[0]} has no venv module; install it (on Debian: apt-get install python3-venv)"
    )


def candidates() -> "list[str]":
    """Paths of this Python and, unless the variable PYTHON chose it, of the others on PATH."""
    own = [os.path.realpath(sys.executable)]
    if os.environ.get("PYTHON"):
        return own
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    paths = [path for folder in folders for path in sorted(glob.glob(os.path.join(folder, "python3*")))]
    pythons = [path for path in paths if re.search(r"/python3(\.\d+)?$", path) and os.access(path, os.X_OK)]
    return list(dict.fromkeys(own + pythons))


def version_of(python: str) -> "tuple[int, ...]":
    """Version of a Python, (0,) if it cannot be run."""
    output = output_of([python, "-S", "-c", "import sys; print(*sys.version_info[:2])"])
    return tuple(int(part) for part in output.split()) or (0,)


def has_venv(python: str) -> bool:
    """Whether a Python can create virtual environments; Debian ships venv as a separate package."""
    return output_of([python, "-c", "import ensurepip, venv; print('yes')"]) == "yes"


def has_pip() -> bool:
    """Whether packages can be installed into `.venv`."""
    return bool(output_of([VENV_PYTHON, "-m", "pip", "--version"]))


def is_executable_by_all(python: str) -> bool:
    """Whether all users can execute a Python, so that an environment created by root serves them too."""
    path = os.path.realpath(python)
    while os.stat(path).st_mode & 0o001:
        if path == os.path.dirname(path):
            return True
        path = os.path.dirname(path)
    return False


def output_of(command: "list[str]") -> str:
    """Output of a command, empty if it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode().strip()


def install_requirements(name: str) -> None:
    """Install a lock file, unless the locks are unchanged since it was installed."""
    digest = digest_of_locks()
    if digest in (installed_digest(name), installed_digest(DEV_REQUIREMENTS)):
        return
    check_writable()
    log(f"installing {name}")
    pip = [VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes"]
    run_step("the requirements", [*pip, "--requirement", os.path.join(ROOT, name)])
    with open(stamp(name), "w") as file:
        file.write(digest)


def installed_digest(name: str) -> str:
    """Digest of the locks when `name` was installed, empty if it was not."""
    return read(stamp(name)).decode() if os.path.exists(stamp(name)) else ""


def stamp(name: str) -> str:
    """Path of the file that keeps the digest."""
    return os.path.join(VENV, f"installed-{name}")


def digest_of_locks() -> str:
    """Digest of all lock files: they share packages."""
    digest = hashlib.sha256()
    for path in sorted(glob.glob(os.path.join(ROOT, "requirements*.txt"))):
        digest.update(read(path))
    return digest.hexdigest()


def find_executable(package: str) -> "str | None":
    """Path of the executable of a package in `SYSTEM_PACKAGES`, `None` if it is missing."""
    executables, _purpose = SYSTEM_PACKAGES[package]
    return next(filter(None, map(shutil.which, executables)), None)


def install_system_packages(target: str) -> None:
    """Install missing Debian packages if run by root; log which tests are skipped without the others.

    `target`: `test` or `test-all`, which needs more.
    """
    missing = {
        package: purpose
        for package, (_executables, purpose) in SYSTEM_PACKAGES.items()
        if find_executable(package) is None and (target == "test-all" or package not in LONG_TEST_PACKAGES)
    }
    installable = {package: purpose for package, purpose in missing.items() if can_install(package)}
    if installable:
        log(f"installing system packages with apt-get: {with_purposes(installable)}")
        apt_get = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        try:
            run_step("the package lists", [*apt_get, "update"])
            run_step("system packages", [*apt_get, "install", "-y", "--no-install-recommends", *installable])
        except InstallError as error:
            log(f"{error}; the tests that need them are skipped")
    others = {package: purpose for package, purpose in missing.items() if package not in installable}
    if others:
        log(f"MISSING system packages: {with_purposes(others)}. The tests that need them are skipped.")
        log(f"On Debian: apt-get install {' '.join(others)}")


def can_install(package: str) -> bool:
    """Whether this user can install a Debian package without starting a service on this machine."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return False
    return package not in SERVICE_PACKAGES or not is_systemd_running()


def is_systemd_running() -> bool:
    """Whether systemd manages this machine, see sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def with_purposes(packages: "dict[str, str]") -> str:
    """List of packages with what they are needed for."""
    return ", ".join(f"{package} ({purpose})" for package, purpose in packages.items())


def check_writable() -> None:
    """Raise InstallError in a clone that belongs to another user."""
    if not os.access(ROOT, os.W_OK):
        raise InstallError(
            f"{ROOT} is not writable by you, and its .venv is incomplete or not executable by you; "
            "its owner has to run make install"
        )


def run_step(description: str, command: "list[str]") -> None:
    """Run a command; on an interrupt stop it with all its children. Raises InstallError."""
    step = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        status = step.wait()
    except KeyboardInterrupt:
        stop_step(step)
        raise
    if status != 0:
        raise InstallError(f"installation of {description} failed, see above")


def stop_step(step: "subprocess.Popen[bytes]") -> None:
    """Send SIGINT to a command's process group, and SIGKILL after a timeout."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    os.killpg(step.pid, signal.SIGINT)
    try:
        while time.monotonic() < deadline:
            step.poll()
            os.killpg(step.pid, 0)
            time.sleep(STOP_POLL_S)
        os.killpg(step.pid, signal.SIGKILL)
    except ProcessLookupError:
        # All processes of the group have exited.
        return
    step.wait()


def read(path: str) -> bytes:
    """Content of a file."""
    with open(path, "rb") as file:
        return file.read()


def log(line: str) -> None:
    """Print a line immediately."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # make forwards SIGTERM, and shells start background jobs with SIGINT ignored: both interrupt a step.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
