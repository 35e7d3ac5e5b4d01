"""Tables as CSV files, sent line by line, in a form that no spreadsheet takes for a formula."""

import csv
import io
from collections.abc import Generator, Iterable, Sequence

from flask import Response

from web.responses import in_pieces

# A text that begins with one of these is run as a formula by spreadsheets ("CSV injection" at OWASP).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LINES_AT_A_TIME = 500


def download(name: str, heads: Sequence[str], lines: Iterable[Sequence[object]]) -> Response:
    """A file of lines below heads; numbers are numbers, what is `None` is empty."""
    response = in_pieces(_pieces(heads, lines), "text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _pieces(heads: Sequence[str], lines: Iterable[Sequence[object]]) -> Generator[bytes]:
    piece = io.StringIO()
    writer = csv.writer(piece, lineterminator="\r\n")
    writer.writerow(heads)
    for number, line in enumerate(lines, start=1):
        writer.writerow(map(_harmless, line))
        if number % _LINES_AT_A_TIME == 0:
            yield _taken(piece)
    yield _taken(piece)


def _taken(piece: io.StringIO) -> bytes:
    text = piece.getvalue()
    piece.seek(0)
    piece.truncate()
    return text.encode()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
