"""The `.env` file: its values, lines that cannot be parsed, names that are not settings or set twice.

The file holds secrets, and a typo can turn part of one into a name. Messages therefore identify a line by its
number, quote a name only if it looks like one of a setting, and never quote a value.
"""

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

# The only file that may be missing.
_DEFAULT = ".env"

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
# Tolerates a wrong letter or a missing suffix.
_MIN_SIMILARITY = 0.75

# dotenv logs lines that it cannot parse by the number within its input, here always 1.
logging.getLogger("dotenv").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class EnvFile:
    """Values by name, errors for lines that cannot be parsed, warnings for unknown and repeated names."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read(path: str | None, known_names: Collection[str]) -> EnvFile:
    """Read the file that `ENV_FILE` names: `None` if it is not set, empty for no file.

    Each assignment is on a line of its own, in dotenv's syntax, without interpolation.
    """
    if path == "":
        return EnvFile()
    name = path or _DEFAULT
    try:
        lines = Path(name).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return EnvFile() if path is None else EnvFile(errors=(f"ENV_FILE {name!r} does not exist",))
    except OSError as error:
        return EnvFile(errors=(f"ENV_FILE {name!r} cannot be read: {error.strerror}",))
    except UnicodeDecodeError:
        return EnvFile(errors=(f"ENV_FILE {name!r} cannot be read; accepted: UTF-8 text",))
    values: dict[str, str] = {}
    errors, warnings = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assignment = _parse(line)
        if assignment is None:
            errors.append(f"ENV_FILE {name!r}, line {number} cannot be parsed; accepted: NAME=value")
            continue
        variable, value = assignment
        if variable in values and variable in known_names:
            warnings.append(
                f"ENV_FILE {name!r}, line {number} sets {variable} again; the earlier value is not used"
            )
        values[variable] = value
        if variable not in known_names:
            warnings.append(f"ENV_FILE {name!r}, line {number} sets {_describe(variable, known_names)}")
    return EnvFile(values, tuple(errors), tuple(warnings))


def _parse(line: str) -> tuple[str, str] | None:
    """Name and value of an assignment; `None` for anything else."""
    match list(dotenv_values(stream=StringIO(line), interpolate=False).items()):
        case [(name, str(value))]:
            return name, value
    return None


def _describe(name: str, known_names: Collection[str]) -> str:
    similar = get_close_matches(name.upper(), known_names, n=1, cutoff=_MIN_SIMILARITY)
    if similar:
        return f"{name}, which is not a setting; did you mean {similar[0]}?"
    return f"{name}, which is not a setting" if _NAME.fullmatch(name) else "a name that is not a setting"
