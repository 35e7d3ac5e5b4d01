"""Where signing in leads: to the page of the Control Room that a visitor wanted.

A page is known by a word of ours, and goes on with the parameters that it has. No address is taken from a
request, so that nobody can be led elsewhere by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import request, url_for

MUTES, AUDIT = "mutes", "audit"
_ROOM = ""
_ENDPOINTS = {_ROOM: "control_room.page", MUTES: "mutes.page", AUDIT: "control_audit.page"}
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    _ROOM: (),
    MUTES: ("db", "run", "client"),
    AUDIT: ("person", "command", "outcome", "before"),
}


@dataclass(frozen=True, slots=True)
class Goal:
    """A page by its word, and what it is asked."""

    word: str
    parameters: Mapping[str, Any]

    @property
    def address(self) -> str:
        """The page."""
        return url_for(_ENDPOINTS[self.word], **self.parameters)

    @property
    def sign_in(self) -> str:
        """The way in that leads there."""
        return url_for("auth.sign_in", to=self.word or None, **self.parameters)


def goal(word: str = _ROOM) -> Goal:
    """The page of a word, with what the request asks of it; without a word the Control Room's own page."""
    return Goal(word, {name: request.args[name] for name in _PARAMETERS[word] if name in request.args})


def of_request() -> Goal:
    """The page that a request to the way in leads to."""
    word = request.args.get("to", _ROOM)
    return goal(word if word in _ENDPOINTS else _ROOM)
