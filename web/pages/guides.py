"""The guides of `docs/` as pages `/help/…`, for readers who have a browser but no repository."""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Blueprint, Response, redirect, render_template, url_for
from markupsafe import Markup
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

from web import markdown, query_args
from web.cache import dependencies
from web.responses import etag_response

if TYPE_CHECKING:
    from markdown_it.token import Token

bp = Blueprint("guides", __name__, url_prefix="/help")

# Titles by file name.
GUIDES: Mapping[str, str] = {
    "shifter": "For shifters",
    "expert": "For experts",
    "control-room": "The Control Room",
}
_DOCS_DIR = Path(__file__).resolve().parents[2] / "docs"
_SUFFIX = ".md"


@bp.get("/")
def first() -> BaseResponse:
    """Redirect to the first guide, which is the one for shifters."""
    return redirect(url_for("guides.page", name=next(iter(GUIDES))))


@bp.get("/<name>")
@dependencies.cached_view
def page(name: str) -> Response:
    """A guide. Raises NotFound."""
    if name not in GUIDES:
        raise NotFound("There is no such guide.")
    cluster = query_args.page_cluster()
    return etag_response(render_template("guide.html", cluster=cluster, name=name, guide=_render(name)))


@cache
def _render(name: str) -> Markup:
    """A guide as HTML."""
    parser = markdown.parser()
    tokens = parser.parse((_DOCS_DIR / f"{name}{_SUFFIX}").read_text())
    _add_heading_ids(tokens)
    _rewrite_guide_links(tokens)
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - escaped by the parser


def _add_heading_ids(tokens: "list[Token]") -> None:
    """Give headings the ids that GitHub gives them, so that links work in both places."""
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            slug = "".join(char for char in heading.content.lower() if char.isalnum() or char in " -")
            opening.attrSet("id", slug.replace(" ", "-"))


def _rewrite_guide_links(tokens: "list[Token]") -> None:
    """Point links to the file of another guide to its page."""
    for link in _links(tokens):
        file, mark, heading = str(link.attrGet("href")).partition("#")
        if file.removesuffix(_SUFFIX) in GUIDES:
            link.attrSet("href", f"{file.removesuffix(_SUFFIX)}{mark}{heading}")


def _links(tokens: "list[Token]") -> "Iterator[Token]":
    for token in tokens:
        yield from (child for child in token.children or () if child.type == "link_open")
