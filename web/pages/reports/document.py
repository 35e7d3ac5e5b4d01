"""A report as a document: facts, then sections with a table each.

A report is built once. Its page, its texts (`web/pages/reports/texts.py`) and its CSV files are forms of the
same document, so they never disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from web.pages.formatting import DASH

# The best of a heat map's colours.
MAX_HEAT = 4


class Level(StrEnum):
    """Judgement on a value, or on a report as a whole."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value: its text or its time.

    `url` is a path, `mark` a word in front such as "new", `title` a tooltip. `value` is what CSV files have
    in place of the text. `heat` from 0, the worst, to `MAX_HEAT` colours the cell. `is_phrase`: the text
    needs none of the words of its column.
    """

    text: str = ""
    at: datetime | None = None
    url: str | None = None
    mark: str | None = None
    title: str | None = None
    level: Level | None = None
    value: int | float | str | None = None
    heat: int | None = None
    is_phrase: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    `name` is its header in CSV files, `head` that on the page, `title` its tooltip. `kind` is a class of
    `templates/_responsive_table.html`. `phrase` puts a value into words where the text has no header, and
    `singular` the number 1.
    """

    name: str
    head: str
    kind: str | None = None
    title: str | None = None
    phrase: str = "{}"
    singular: str | None = None

    def in_words(self, text: str) -> str:
        """A value of the column in words."""
        return (self.singular if self.singular and text == "1" else self.phrase).format(text)


@dataclass(frozen=True, slots=True)
class Section:
    """A section with a table.

    `empty` is the sentence in place of a table without rows, `note` one below the table. `is_compact`: the
    table is as wide as its values, not as the page.
    """

    key: str
    heading: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    empty: str
    note: str | None = None
    is_compact: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A report; `url` is the path of its page, `summary` the sentence that says most of it.

    `facts` are names with one value or several.
    """

    title: str
    url: str
    summary: str
    facts: Sequence[tuple[str, Sequence[Cell]]]
    sections: Sequence[Section]
    level: Level | None = None


NOTHING = Cell(DASH)


def number_cell(value: int | None) -> Cell:
    """A cell of a number."""
    return NOTHING if value is None else Cell(str(value), value=value)


def time_cell(at: datetime | None, without: str = DASH) -> Cell:
    """A cell of a time, or of the words that are shown without one."""
    return Cell(without, is_phrase=True) if at is None else Cell(at=at)
