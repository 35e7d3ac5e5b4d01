"""Markdown as HTML: guides, and texts of the API's description."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def parser() -> "MarkdownIt":
    """A parser of CommonMark with tables; HTML in the Markdown is escaped."""
    # It takes 1 MB of a worker, most of which never render such a page.
    from markdown_it import MarkdownIt  # noqa: PLC0415

    return MarkdownIt("commonmark", {"html": False}).enable("table")
