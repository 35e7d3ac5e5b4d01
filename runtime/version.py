"""Version of the mirror and the commit that it was built from."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NUMBER = "1.0.0"

_ROOT = Path(__file__).resolve().parent.parent
# Written by the builds of image and executable, which have no git history.
_COMMIT_FILE = _ROOT / "COMMIT"
_GIT_TIMEOUT_S = 5
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Version:
    """Version number and commit; `-dirty` is appended to the commit if files were changed since."""

    number: str
    commit: str

    def __str__(self) -> str:
        return f"{self.number} ({self.commit})"


@cache
def current() -> Version:
    """Version of this program; the commit is `unknown` without a build's COMMIT file or git."""
    if _COMMIT_FILE.is_file():
        return Version(NUMBER, _COMMIT_FILE.read_text(encoding="utf-8").strip() or _UNKNOWN)
    return Version(NUMBER, _git_commit())


def _git_commit() -> str:
    # git would report the commit of an enclosing repository for an unpacked archive.
    if not (_ROOT / ".git").exists():
        return _UNKNOWN
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=_ROOT, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return _UNKNOWN
    return done.stdout.strip() or _UNKNOWN
