"""Linters: hadolint for the Dockerfile, shellcheck for shell scripts."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPTS = (
    "dqmsquare_deploy.sh",
    "services/dqmsquare_k8_wrapper.sh",
    "services/dqmsquare_mirror_wrapper.sh",
    ".ci/run",
)
# Where pip puts the programs of packages.
_PROGRAMS = Path(sys.executable).parent


def dockerfile_problems(folder: Path) -> list[str]:
    """What hadolint says of the Dockerfile."""
    return _said([str(_PROGRAMS / "hadolint"), "--no-color", "Dockerfile"], folder)


def script_problems(folder: Path) -> list[str]:
    """What shellcheck says of the shell scripts."""
    return _said([str(_PROGRAMS / "shellcheck"), "--format=gcc", *SCRIPTS], folder)


def _said(command: Sequence[str], folder: Path) -> list[str]:
    done = subprocess.run(  # noqa: S603 - a fixed command
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    lines = done.stdout.splitlines()
    return lines if lines or done.returncode == 0 else [f"{command[0]} ended with status {done.returncode}"]
