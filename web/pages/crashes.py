"""The page of groups of crashes `/crashes/`: each crash with its runs, the last to occur first."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template
from werkzeug.exceptions import BadRequest

from dqm2.records import CrashKind
from dqmsquare_cfg import Cluster
from storage.crash_queries import CrashFilter
from web import databases, query_args
from web.cache import dependencies
from web.pages import active_mutes, crash_text, freshness, run_filter
from web.pages.run_filter import RunFilterParams
from web.responses import etag_response

bp = Blueprint("crashes", __name__, url_prefix="/crashes")

_GROUPS_PER_PAGE = 50
_MAX_SKIP = 100_000


@dataclass(frozen=True, slots=True)
class CrashFilterParams:
    """The run filter of a request, the kind of crash that is searched for, and the groups before its page."""

    runs: RunFilterParams
    kind: CrashKind | None
    skip: int

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.runs.cluster

    @property
    def filter(self) -> CrashFilter:
        """The filter of groups."""
        return CrashFilter(self.runs.filter, None if self.kind is None else (self.kind,))

    @property
    def is_filtered(self) -> bool:
        """Whether there may be other crashes."""
        return bool(self.runs.texts) or self.kind is not None

    def query_string(self, skip: int) -> str:
        """The query string of the page after so many groups."""
        params: dict[str, object] = {"db": self.cluster, **self.runs.texts}
        if self.kind is not None:
            params["kind"] = self.kind
        if skip:
            params["skip"] = skip
        return urlencode(params)


@bp.get("/")
@dependencies.cached_view
def page() -> Response:
    """The groups that match the filter, a page of them."""
    params = _request_params()
    context = {
        **_template_context(params),
        **freshness.template_context(params.cluster),
        "suggestions": run_filter.suggestions(params.cluster),
    }
    return etag_response(render_template("crashes/page.html", **context))


@bp.get("/fragment")
@dependencies.cached_view
def fragment() -> Response:
    """The groups, which the page keeps up to date."""
    return etag_response(render_template("crashes/_groups.html", **_template_context(_request_params())))


def _request_params() -> CrashFilterParams:
    """The parameters of the current request. Raises BadRequest, DatabaseUnavailable."""
    kind = query_args.text("kind")
    if kind is not None and kind not in set(CrashKind):
        raise BadRequest(f"kind must be one of {', '.join(CrashKind)}")
    skip = query_args.integer("skip", "skip must be an integer") or 0
    return CrashFilterParams(
        runs=run_filter.request_params(default_range=None),
        kind=None if kind is None else CrashKind(kind),
        skip=min(max(0, skip), _MAX_SKIP),
    )


def _template_context(params: CrashFilterParams) -> dict[str, Any]:
    reader = databases.stale_ok_reader(params.cluster)
    found = reader.crashes.find_groups(params.filter, skip=params.skip, limit=_GROUPS_PER_PAGE)
    end = params.skip + len(found.groups)
    return {
        "cluster": params.cluster,
        "crash_params": params,
        "params": params.runs,
        "found": found,
        "newer_skip": max(0, params.skip - _GROUPS_PER_PAGE) if params.skip else None,
        "older_skip": end if found.groups and end < found.count else None,
        "kinds": crash_text.KINDS,
        "mutes": {
            (mute.subject.client, mute.subject.crash_group): mute for mute in active_mutes.read(reader)
        },
    }
