"""Registration of the API, with its description as `/api/v1/openapi.json` and as the page `/api/v1/`."""

import re
from typing import Any

import orjson
from flask import Flask, Response, render_template
from markupsafe import Markup

from dqmsquare_cfg import Settings
from web import markdown, problems, query_args
from web.api_v1 import openapi
from web.api_v1.operations import JSON
from web.api_v1.views import bp
from web.cache.dependencies import cached_view
from web.responses import etag_response

_SHORT_LIST = re.compile(r"\[\s+([^\[\]{}]*?)\s+\]")
_BREAK = re.compile(r"\n\s*")


def init_app(app: Flask, settings: Settings) -> None:
    """Register the API."""
    app.register_blueprint(bp, url_prefix=problems.api_root(settings))


@bp.get("/openapi.json")
@cached_view
def description() -> Response:
    """The description of the API in OpenAPI 3.1."""
    return etag_response(orjson.dumps(openapi.document(problems.root())), JSON)


@bp.get("/")
@cached_view
def page() -> Response:
    """The description as a page."""
    parser = markdown.parser()
    return etag_response(
        render_template(
            "api_v1/page.html",
            cluster=query_args.page_cluster(),
            document=openapi.document(problems.root()),
            examples=openapi.examples(),
            json=_indented_json,
            # The parser escapes HTML.
            blocks=lambda text: Markup(parser.render(text)),  # noqa: S704
            inline=lambda text: Markup(parser.renderInline(text)),  # noqa: S704
        )
    )


def _indented_json(value: Any) -> str:
    """JSON for readers: indented, with lists of numbers or texts on one line."""
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return _SHORT_LIST.sub(lambda found: f"[{_BREAK.sub(' ', found[1])}]", text)
