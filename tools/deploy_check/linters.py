"""Linters: hadolint for the Dockerfile, shellcheck for scripts, systemd-analyze for installed units."""

import getpass
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

SCRIPTS = (
    "dqmsquare_deploy.sh",
    "services/dqmsquare_k8_wrapper.sh",
    "services/dqmsquare_mirror_wrapper.sh",
    ".ci/run",
)
# Where pip puts the programs of packages.
_PROGRAMS = Path(sys.executable).parent


def dockerfile_problems(folder: Path) -> list[str]:
    """Findings of hadolint in the Dockerfile."""
    return _findings([str(_PROGRAMS / "hadolint"), "--no-color", "Dockerfile"], folder)


def script_problems(folder: Path) -> list[str]:
    """Findings of shellcheck in the shell scripts."""
    return _findings([str(_PROGRAMS / "shellcheck"), "--format=gcc", *SCRIPTS], folder)


def _findings(command: Sequence[str], folder: Path) -> list[str]:
    done = subprocess.run(  # noqa: S603 - a fixed command
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    lines = done.stdout.splitlines()
    return lines if lines or done.returncode == 0 else [f"{command[0]} ended with status {done.returncode}"]


UNIT = "dqmsquare_mirror@.service"
PARTS = ("server", "grabber-production", "grabber-playback")
_ANALYZE = "systemd-analyze"
# systemd's own scale, on which 0 is safe and 10 is not.
_MOST_EXPOSED = 2.0
_STAND_IN = "#!/bin/sh\necho 'a stand-in for the executable'\n"


def has_systemd_analyze() -> bool:
    """Whether systemd's own checks are on this machine."""
    return shutil.which(_ANALYZE) is not None


def systemd_problems(folder: Path) -> list[str]:
    """Findings of systemd-analyze in the units; none if it is not installed."""
    analyze = shutil.which(_ANALYZE)
    if analyze is None:
        return []
    with TemporaryDirectory() as temporary:
        prefix, units = Path(temporary, "prefix"), Path(temporary, "units")
        installed = install_units(folder, prefix, units)
        if installed.returncode != 0:
            return [f"dqmsquare_deploy.sh install: {installed.stdout.strip()}"]
        return [sentence for part in PARTS for sentence in _unit_problems(analyze, units, part)]


def install_units(folder: Path, prefix: Path, units: Path) -> "subprocess.CompletedProcess[str]":
    """Installs the unit, the wrapper and a stand-in for the executable, for the user who runs this."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    executable = prefix.parent / "stand-in"
    executable.write_text(_STAND_IN)
    executable.chmod(0o755)
    options = {
        "--prefix": str(prefix),
        "--units": str(units),
        "--executable": str(executable),
        "--user": getpass.getuser(),
    }
    words = [word for option in options.items() for word in option]
    return _run([str(folder / "dqmsquare_deploy.sh"), "install", *words])


def _unit_problems(analyze: str, units: Path, part: str) -> list[str]:
    instance = units / UNIT.replace("@", f"@{part}")
    shutil.copy(units / UNIT, instance)
    verified = _run([analyze, "verify", "--man=no", str(instance)])
    found = verified.stdout.splitlines() if verified.returncode != 0 or verified.stdout else []
    security = _run([analyze, "security", "--offline=true", "--no-pager", str(instance)])
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", security.stdout)
    if exposure is None:
        return [*found, f"{instance.name}: systemd-analyze security does not rate it: {security.stdout}"]
    if float(exposure[1]) >= _MOST_EXPOSED:
        found.append(f"{instance.name}: its exposure is {exposure[1]}, below {_MOST_EXPOSED} is asked for")
    return found


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - a fixed command
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
