"""The marks that are put in place of what is sensitive: they say what was there."""

import re
from enum import StrEnum


class Mark(StrEnum):
    """A mark, by what it stands for (data policy, "Redaction of text")."""

    HOST = "[host]"
    IP = "[ip]"
    USER = "[user]"
    EMAIL = "[email]"
    SECRET = "[secret]"  # noqa: S105 - a mark
    KEY = "[key]"


# One mark or several, as an expression over folded text.
MARKS = rb"(?:" + b"|".join(re.escape(mark.encode()) for mark in Mark) + rb")+"
