"""Which version of the mirror this is, and which commit it was made from."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NUMBER = "1.0.0"

_ROOT = Path(__file__).resolve().parent.parent
# An image or an executable has no history with it: what builds it leaves the commit in this file.
_COMMIT_FILE = _ROOT / "COMMIT"
_GIT_TIMEOUT_S = 5
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Version:
    """The version's number and the commit, with `-dirty` behind it where files were changed since."""

    number: str
    commit: str

    def __str__(self) -> str:
        return f"{self.number} ({self.commit})"


@cache
def current() -> Version:
    """The version of this program; its commit is `unknown` where neither a build nor git tells it."""
    if _COMMIT_FILE.is_file():
        return Version(NUMBER, _COMMIT_FILE.read_text(encoding="utf-8").strip() or _UNKNOWN)
    return Version(NUMBER, _commit_of_git())


def _commit_of_git() -> str:
    # A mirror that was unpacked somewhere inside another repository must not pass off that one's commit.
    if not (_ROOT / ".git").exists():
        return _UNKNOWN
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command
            command, cwd=_ROOT, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return _UNKNOWN
    return answer.stdout.strip() or _UNKNOWN
