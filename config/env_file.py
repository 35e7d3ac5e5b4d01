"""The file behind the environment, `.env`: what it sets, and what of it can't have been meant.

Its lines hold secrets, and a slip may make anything of them a name. So a line is told of by its number, with
no more of it than what reads like the name of a setting, and never with a value.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from dotenv.parser import Binding, parse_stream

# Read where `ENV_FILE` names no other; the one file that may be missing.
_USUAL = ".env"

# What every setting is called like; a piece of a key that was broken over lines is not.
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
# How alike a name must be to a setting's for that to be what was meant: a letter or an ending apart.
_LIKENESS = 0.75


@dataclass(frozen=True)
class EnvFile:
    """What a file sets, and a line each: why it is `refused`, and what it sets that is `unknown`."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    refused: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def read(named: str | None, known: Collection[str]) -> EnvFile:
    """The file that `ENV_FILE` names; `None` where it is not set, empty for none. `known`: the settings."""
    name = _USUAL if named is None else named
    if not name:
        return EnvFile()
    told = f"ENV_FILE is {name!r}"
    try:
        with Path(name).open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        return EnvFile() if named is None else EnvFile(refused=(f"{told}, and there is no such file",))
    except OSError as error:
        return EnvFile(refused=(f"{told}, which can't be read: {error.strerror}",))
    except UnicodeDecodeError:
        return EnvFile(refused=(f"{told}, which can't be read; accepted: a text in UTF-8",))
    values = {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}
    return EnvFile(
        values,
        tuple(
            f"{told}, whose line {_line(binding)} can't be understood; accepted: NAME=value"
            for binding in bindings
            if binding.error or (binding.key and binding.value is None)
        ),
        tuple(
            f"{told}, whose line {_line(binding)} sets {_unknown(binding.key, known)}"
            for binding in bindings
            if binding.key and binding.value is not None and binding.key not in known
        ),
    )


def _line(binding: Binding) -> int:
    """The line at which it begins, the blank ones before it being counted as its own by the parser."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _unknown(name: str, known: Collection[str]) -> str:
    meant = get_close_matches(name.upper(), known, n=1, cutoff=_LIKENESS)
    if meant:
        return f"{name}, which is no setting; {meant[0]} is"
    return f"{name}, which is no setting" if _NAME.fullmatch(name) else "what is no setting"
