"""Redirects from addresses of earlier mirrors, which people have pasted into issues for years.

    /tmp/…content_parser_productionPARSER_run362293PARSER_job28.log   the run's page
    /api?what=get_logs&id=dqm-source-state-run…-host…-pid…            the job's page, see `web/api.py`
    /{SERVER_FORMER_URL_PREFIX}/…                                     the same below today's prefix

Addresses were pasted out of HTML as well: `&amp;` in a query is taken as `&`, and punctuation behind a run or
an id is ignored.

Everything else below `/tmp/` and `/log/` was a file of the mirror itself, and is gone.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

from flask import Blueprint, Flask, redirect, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from dqmsquare_cfg import Cluster, Settings
from web.query_args import INT_MAX

bp = Blueprint("legacy_urls", __name__)

_FILE = re.compile(r"content_parser_(production|playback)PARSER_run([0-9]{1,10})(?![0-9])")
_DOCUMENT_ID = re.compile(r"dqm-source-state-run([0-9]{1,10})-host([A-Za-z0-9.-]{1,253})-pid[0-9]{1,10}")
# A method other than these may have a body, which only 307 makes a client send again.
_READS = ("GET", "HEAD")
_ESCAPED_AMPERSAND = b"&amp;"
_SAFE_IN_QUERY = "%&=+;:@/?!$'()*,-._~"
_FOUND, _TEMPORARY_REDIRECT = 302, 307


@dataclass(frozen=True, slots=True)
class LegacyJobId:
    """A job's document id in DQM², which earlier mirrors gave it as well, and what it consists of."""

    text: str
    run: int
    host: str

    @classmethod
    def parse(cls, text: str) -> "LegacyJobId | None":
        """Parse an id; `None` for any other text."""
        match = _DOCUMENT_ID.fullmatch(text)
        if match is None or int(match[1]) > INT_MAX:
            return None
        return cls(text, int(match[1]), match[2])


def init_app(app: Flask, settings: Settings) -> None:
    """Register the addresses, and the former prefix if there is one."""
    app.register_blueprint(bp, url_prefix=settings.server_url_prefix)
    app.before_request(_redirect_escaped_query)
    former = settings.server_former_url_prefix
    if not former:
        return

    def redirect_former_prefix(path: str = "") -> Response:
        """Redirect to the same address below today's prefix."""
        code = _FOUND if request.method in _READS else _TEMPORARY_REDIRECT
        return redirect(_address(settings.server_url_prefix, path, request.query_string), code)

    for rule in (former, f"{former}/", f"{former}/<path:path>"):
        app.add_url_rule(
            rule, "former_prefix", redirect_former_prefix, methods=["GET", "POST"], strict_slashes=False
        )


def _redirect_escaped_query() -> Response | None:
    """Redirect an address whose query was copied with HTML's escapes to the one that was meant."""
    is_escaped = request.method in _READS and _ESCAPED_AMPERSAND in request.query_string
    if not is_escaped or not any(name.startswith("amp;") for name in request.args):
        return None
    query = request.query_string.replace(_ESCAPED_AMPERSAND, b"&")
    return redirect(_address("", request.path, query), _FOUND)


def _address(prefix: str, path: str, query: bytes) -> str:
    """Address of a path below a prefix, on this host."""
    # A path that begins with slashes could name another host.
    address = f"{prefix}/{quote(path.lstrip('/'))}"
    return f"{address}?{quote(query, safe=_SAFE_IN_QUERY)}" if query else address


@bp.get("/tmp/<path:name>")  # noqa: S108 - an address
def parser_file(name: str) -> Response:
    """Redirect a file that an earlier mirror made of a run to the run's page. Raises NotFound."""
    match = _FILE.search(name)
    if match is None or int(match[2]) > INT_MAX:
        raise NotFound("The mirror's files are no longer public.")
    return redirect(url_for("live.page", db=Cluster(match[1]), run=int(match[2])))


@bp.get("/log/<path:name>")
def log_file(name: str) -> Response:  # noqa: ARG001 - all are gone
    """Refuse what were the earlier mirror's own logs. Raises NotFound."""
    raise NotFound("The mirror's files are no longer public.")
