"""What passes through the simulator's door: a request as it was read, and the answer as it is to be sent."""

from dataclasses import dataclass, field
from enum import Enum, auto

HTML = "text/html; charset=UTF-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read whole. `query` keeps every value of a name; names of headers are in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    client_serial: int | None = None

    def parameter(self, name: str) -> str | None:
        """The last value of a parameter, as DQM² takes it; `None` if it is absent."""
        return next((value for given, value in reversed(self.query) if given == name), None)

    def header(self, name: str) -> str | None:
        """The value of a header, `name` in lower case; `None` if it is absent."""
        return next((value for given, value in self.headers if given == name), None)


class Manner(Enum):
    """How an answer is put on the wire."""

    WHOLE = auto()
    # Header and body apart with Nagle's algorithm on, as the released server does: 40 ms of delayed ACK.
    TWO_PACKETS = auto()
    # Chunked transfer encoding with a chunk a character.
    CHARACTERS = auto()
    # Nothing at all: the connection is closed.
    CUT = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. `closes_after` closes the connection after so many bytes of the body."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = JSON
    location: str | None = None
    manner: Manner = Manner.WHOLE
    closes_after: int | None = None


def error_page(status: int, title: str, text: str = "") -> Answer:
    """A page as DQM²'s web framework shows it when something inside has failed."""
    page = (
        '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n'
        f"<html>\n<head><title>Error: {status} {title}</title></head>\n"
        f"<body>\n<h1>Error: {status} {title}</h1>\n<p>Sorry, the requested URL caused an error:</p>\n"
        f"<pre>{text}</pre>\n</body>\n</html>\n"
    )
    return Answer(status, page.encode(), HTML)


def failure(text: str) -> Answer:
    """The 500 page: an exception inside DQM², whatever was done before it."""
    return error_page(500, "Internal Server Error", text)
