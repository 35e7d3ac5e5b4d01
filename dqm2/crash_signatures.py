"""Signatures of crashes: two crashes of a client with the same signature have the same cause.

A signature is made of what a crash has in common in all runs: client, kind, category, type of the module,
first functions, and the words of the message. Numbers, addresses, paths and quoted names are left out, as are
labels of modules, libraries and lines of source code, which change with releases.
"""

import hashlib
import re
from dataclasses import dataclass

from dqm2 import exit_codes
from dqm2.records import CrashKind, CrashReason

# Signatures are made again if the rules change.
SIGNATURE_VERSION = 1

_KEY_BYTES = 8
# Form of a signature.
SIGNATURE = re.compile(rf"[0-9a-f]{{{2 * _KEY_BYTES}}}")
_MAX_FRAMES = 2
_MAX_WORDS = 12
_MAX_TITLE = 160
# Paths, quoted names, numbers and addresses, one after the other.
_VARIABLE = re.compile(
    r"[\w.+@:~-]*(?:/[\w.+@~%-]+)+/?|'[^']*'|\"[^\"]*\"|`[^`']*['`]|‘[^’]*’|\[\w+\]|\b0x[0-9a-fA-F]+\b"
    r"|\w*\d[\w.]*"
)
# An assertion is its condition, which is quoted.
_CONDITION = re.compile(r"Assertion [`'‘\"](.{1,200}?)['’\"`] failed")
_WORD = re.compile(r"[A-Za-z_]{2,}")
_TEMPLATE_ARGUMENTS = re.compile(r"<[^<>]*>")
# Suffixes of the compiler's own variants of a function.
_CLONE = re.compile(r"\.(?:constprop|isra|part|cold|lto_priv)\b[.\d]*")
_LAMBDA = re.compile(r"\{[^{}]*\}(?:::operator\(\))?")
# In place of what is left out, and of several such parts behind each other.
_OMITTED = "…"
_OMISSIONS = re.compile(r"…(?:[^\w…]{0,3}…)+")


@dataclass(frozen=True, slots=True)
class CrashSignature:
    """Key of a group of crashes, and a title for it.

    `title` is that of a crash. `general_title` has no more of its message than the key, for a group in which
    titles differ.
    """

    key: str
    title: str
    general_title: str


def sign(client: str, exit_code: int, reason: CrashReason | None) -> CrashSignature:
    """The signature of a crash of a client; of one whose log says nothing, by the exit code."""
    if reason is None or reason.line is None:
        described = exit_codes.describe(exit_code)
        ended = described.name or described.category or str(exit_code)
        title = f"{client}: {described.meaning}"[:_MAX_TITLE]
        return CrashSignature(_key(client, "exit code", ended), title, title)
    module = reason.module_type.partition("@")[0]
    functions = tuple(_function(frame.function) for frame in reason.frames[:_MAX_FRAMES])
    words = _words(reason)
    key = _key(client, reason.kind.value, reason.category, module, *functions, words)
    what = reason.category or reason.kind.value.replace("_", " ")
    where = f" in {module or functions[0]}" if module or functions else ""
    # Some messages repeat the category.
    message = reason.message.removeprefix(what).lstrip(": ") if words else ""
    return CrashSignature(
        key,
        *(
            f"{client}: {what}{where}{': ' if text else ''}{text}"[:_MAX_TITLE]
            for text in (message, _general(message))
        ),
    )


def _key(*parts: str) -> str:
    # Joined by a character that no part has.
    text = "\n".join((str(SIGNATURE_VERSION), *parts))
    return hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).hexdigest()


def _words(reason: CrashReason) -> str:
    """The words of a message that do not vary; none for a signal, which its name and place identify."""
    if reason.kind is CrashKind.KILLED or (reason.kind is CrashKind.SIGNAL and reason.frames):
        return ""
    condition = _CONDITION.search(reason.message)
    text = condition[1] if condition else _VARIABLE.sub(" ", reason.message)
    return " ".join(_WORD.findall(text)[:_MAX_WORDS])


def _general(message: str) -> str:
    """A message without what is not part of a signature."""
    condition = _CONDITION.search(message)
    if condition:
        return condition[0]
    text = _OMISSIONS.sub(_OMITTED, _VARIABLE.sub(_OMITTED, message))
    words = list(_WORD.finditer(text))
    return text if len(words) <= _MAX_WORDS else f"{text[: words[_MAX_WORDS - 1].end()]} {_OMITTED}"


def _function(name: str) -> str:
    """A function without template arguments, lambdas and suffixes of the compiler."""
    name = _LAMBDA.sub("", _CLONE.sub("", name))
    while (shorter := _TEMPLATE_ARGUMENTS.sub("", name)) != name:
        name = shorter
    return name.removesuffix("::")
