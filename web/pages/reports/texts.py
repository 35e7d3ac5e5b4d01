"""Forms of a report other than its page: Markdown, plain text, and the rows of CSV files.

Links have paths only: the browser adds the origin by which it has reached the mirror
(`static/js/copy_report.js`).
"""

from collections.abc import Iterator, Sequence

from dqmsquare_cfg import EXPERIMENT_ZONE
from web.pages.crash_issue import escape, escape_in_link
from web.pages.formatting import DASH
from web.pages.reports.document import Cell, Report, Section
from web.times import iso


def markdown(report: Report) -> str:
    """The report in Markdown, with a table for each section that has rows."""
    parts = [
        f"### {_link(report.title, report.url)}",
        escape(report.summary),
        "\n".join(
            f"- {escape(name)}: {', '.join(map(_markdown_value, cells))}" for name, cells in report.facts
        ),
        *("\n".join(_markdown_section(section)) for section in report.sections),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain_text(report: Report) -> str:
    """The report as text without markup, as the e-log takes it: an item for each row."""
    parts = [
        f"{report.title}\n{report.summary}",
        "\n".join(f"{name}: {', '.join(map(_text, cells))}" for name, cells in report.facts),
        *("\n".join(_text_section(section)) for section in report.sections),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def csv_rows(section: Section) -> Iterator[list[object]]:
    """The rows of a section's CSV file."""
    return ([_csv_value(cell) for cell in row] for row in section.rows)


def _markdown_section(section: Section) -> Iterator[str]:
    yield f"#### {escape(section.heading)}\n"
    if section.rows:
        yield _markdown_row([escape(column.head) for column in section.columns])
        yield _markdown_row(["--:" if column.kind == "numeric" else "---" for column in section.columns])
        yield from (_markdown_row(list(map(_markdown_value, row))) for row in section.rows)
    else:
        yield escape(section.empty)
    if section.note:
        yield f"\n{escape(section.note)}"


def _markdown_row(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _markdown_value(cell: Cell) -> str:
    text = _text_without_mark(cell)
    linked = escape(text) if cell.url is None else _link(text, cell.url)
    return linked if cell.mark is None else f"**{escape(cell.mark)}** {linked}"


def _link(text: str, url: str) -> str:
    # A parenthesis of the filter would end the address.
    address = url.replace("(", "%28").replace(")", "%29")
    return f"[{escape_in_link(text)}]({address})"


def _text_section(section: Section) -> Iterator[str]:
    yield section.heading
    if not section.rows:
        yield section.empty
    for row in section.rows:
        phrases = [
            _marked(cell, text if cell.is_phrase else column.in_words(text))
            for column, cell in zip(section.columns, row, strict=True)
            if (text := _text_without_mark(cell)) not in ("", DASH)
        ]
        yield f"- {', '.join(phrases)}"
    if section.note:
        yield section.note


def _text(cell: Cell) -> str:
    return _marked(cell, _text_without_mark(cell))


def _marked(cell: Cell, text: str) -> str:
    return text if cell.mark is None else f"[{cell.mark}] {text}"


def _text_without_mark(cell: Cell) -> str:
    return cell.text if cell.at is None else f"{cell.at.astimezone(EXPERIMENT_ZONE):%d %b %Y %H:%M %Z}"


def _csv_value(cell: Cell) -> object:
    if cell.at is not None:
        return iso(cell.at)
    if cell.value is not None:
        return cell.value
    return None if cell.text == DASH else _text(cell)
