"""`/help/…`: the guides of `docs/` as pages, for who stands before a screen and not before the repository."""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

from flask import Blueprint, Flask, Response, redirect, render_template, url_for
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

from web import query_args
from web.cache import dependencies
from web.responses import etag_response

room = Blueprint("guides", __name__, url_prefix="/help")

# By the names of their files.
GUIDES: Mapping[str, str] = {
    "shifter": "For shifters",
    "expert": "For experts",
    "control-room": "The Control Room",
}
_FOLDER = Path(__file__).resolve().parents[2] / "docs"
_SUFFIX = ".md"


def init_app(app: Flask) -> None:
    """Gives templates the guides that there are."""
    app.jinja_env.globals["guides"] = GUIDES


@room.get("/")
def first() -> BaseResponse:
    """The guide that most readers need."""
    return redirect(url_for("guides.page", name=next(iter(GUIDES))))


@room.get("/<name>")
@dependencies.cached_view
def page(name: str) -> Response:
    """A guide. Raises NotFound."""
    if name not in GUIDES:
        raise NotFound("There is no such guide.")
    cluster = query_args.shown_cluster()
    guide = _rendered(name)
    return etag_response(render_template("guide.html", cluster=cluster, name=name, guide=guide))


@cache
def _rendered(name: str) -> Markup:
    """A guide's Markdown as HTML; markup that stands in it is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse((_FOLDER / f"{name}{_SUFFIX}").read_text())
    _name_headings(tokens)
    _link_guides(tokens)
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704 - escaped by the parser


def _name_headings(tokens: list[Token]) -> None:
    """Headings get the names that links to them have on GitHub."""
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(
                letter for letter in heading.content.lower() if letter.isalnum() or letter in " -"
            )
            opening.attrSet("id", words.replace(" ", "-"))


def _link_guides(tokens: list[Token]) -> None:
    """A link to another guide's file leads to its page."""
    for link in _links(tokens):
        file, mark, heading = str(link.attrGet("href")).partition("#")
        if file.removesuffix(_SUFFIX) in GUIDES:
            link.attrSet("href", f"{file.removesuffix(_SUFFIX)}{mark}{heading}")


def _links(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from (child for child in token.children or () if child.type == "link_open")
