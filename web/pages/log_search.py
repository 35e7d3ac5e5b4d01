"""The search over logs, `/crashes/search`: the jobs with a line, and links to these lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template
from werkzeug.exceptions import BadRequest

from dqm2 import log_templates
from dqm2.log_templates import LineQuery
from dqm2.records import CrashReason
from storage.log_search import FoundLogs
from web import databases, query_args
from web.cache import dependencies
from web.errors import DatabaseTooSlow
from web.limits import RequestKind, limited_as
from web.pages import freshness, run_filter
from web.pages.run_filter import RunFilterParams
from web.responses import etag_response

bp = Blueprint("log_search", __name__, url_prefix="/crashes")

MAX_TEXT = 400
# Logs of a page: each is decompressed and searched.
_LOGS_PER_PAGE = 20
_MAX_SKIP = 1000
_ANY_NUMBERS = "any"
# Lines from that of the reason for a crash on, one of which has its message.
_REASON_LINES = 16
_MESSAGE_START = 24


@dataclass(frozen=True, slots=True)
class LogSearchParams:
    """The text that is searched for, in runs that match a filter, and the jobs before the page."""

    text: str
    any_numbers: bool
    runs: RunFilterParams
    skip: int

    @property
    def query(self) -> LineQuery | None:
        """The query; `None` for a text without a word."""
        return log_templates.parse_query(self.text, with_numbers=not self.any_numbers)

    def query_string(self, skip: int) -> str:
        """The query string of the page after so many jobs."""
        params: dict[str, object] = {"db": self.runs.cluster, "q": self.text}
        if self.any_numbers:
            params["numbers"] = _ANY_NUMBERS
        params |= self.runs.texts
        if skip:
            params["skip"] = skip
        return urlencode(params)


@bp.get("/search")
@limited_as(RequestKind.LOG_SEARCH, lambda query: "q" in query)
@dependencies.cached_view
def page() -> Response:
    """The search form, with what was found if a text is given."""
    params = _request_params()
    cluster = params.runs.cluster
    found, is_too_slow = _search(params)
    return etag_response(
        render_template(
            "crashes/search_page.html",
            cluster=cluster,
            search=params,
            found=found,
            is_too_slow=is_too_slow,
            newer_skip=max(0, params.skip - _LOGS_PER_PAGE) if params.skip else None,
            older_skip=_older_skip(params, found),
            max_text=MAX_TEXT,
            suggestions=run_filter.suggestions(cluster),
            **freshness.template_context(cluster),
        )
    )


def line_of_reason(lines: Sequence[str], reason: CrashReason | None) -> str:
    """The line of a log that has the message of the reason for a crash; empty if there is none."""
    if reason is None or reason.line is None:
        return ""
    near = lines[reason.line - 1 : reason.line - 1 + _REASON_LINES]
    start = reason.message[:_MESSAGE_START]
    found = next((line for line in near if start in line), near[0] if near else "")
    return found.strip()[:MAX_TEXT]


def _request_params() -> LogSearchParams:
    """The parameters of the current request. Raises BadRequest, DatabaseUnavailable."""
    text = (query_args.text("q") or "").strip()
    if len(text) > MAX_TEXT:
        raise BadRequest(f"q must have at most {MAX_TEXT} characters")
    numbers = query_args.text("numbers")
    if numbers not in (None, _ANY_NUMBERS):
        raise BadRequest(f"numbers must be {_ANY_NUMBERS}, or left out")
    skip = query_args.integer("skip", "skip must be an integer") or 0
    return LogSearchParams(
        text=text,
        any_numbers=numbers is not None,
        runs=run_filter.request_params(default_range=None),
        skip=min(max(0, skip), _MAX_SKIP),
    )


def _search(params: LogSearchParams) -> tuple[FoundLogs | None, bool]:
    """The logs that were found, `None` without a query; and whether the search took too long."""
    query = params.query
    if query is None:
        return None, False
    reader = databases.stale_ok_reader(params.runs.cluster)
    try:
        return reader.logs.search(query, params.runs.filter, skip=params.skip, limit=_LOGS_PER_PAGE), False
    except DatabaseTooSlow:
        dependencies.expire_soon()
        return None, True


def _older_skip(params: LogSearchParams, found: FoundLogs | None) -> int | None:
    older = params.skip + _LOGS_PER_PAGE
    return older if found is not None and found.has_more and older <= _MAX_SKIP else None
