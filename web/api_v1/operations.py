"""Operations of the API: views with typed parameters and results, and their HTTP interface.

    @operation(bp, "/clusters/<cluster>/runs")
    def runs(cluster: Cluster, query: RunsQuery) -> RunPage:
        \"\"\"Runs, newest first.\"\"\"

The annotations say how to parse the query and what the response is, for requests and for the description of
the API alike. A result that is a text is sent as plain text, any other as JSON.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, get_type_hints

import msgspec
from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from dqmsquare_cfg import Cluster
from web.api_v1 import queries
from web.api_v1.queries import Query
from web.cache.dependencies import cached_view
from web.limits import RequestKind, limited_as
from web.query_args import QueryCondition
from web.responses import etag_response

JSON, TEXT = "application/json", "text/plain"
# With or without a converter.
_VARIABLE = re.compile(r"<(?:[^<>]*:)?(\w+)>")
_NO_CLUSTER = f"There is no such cluster: it must be one of {', '.join(sorted(Cluster))}."

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Operation:
    """A GET of a resource: its id and rule, the types of its query and result, and its view."""

    id: str
    rule: str
    query: type[Query]
    result: type[Any]
    view: Callable[..., Any]

    @property
    def path(self) -> str:
        """The path below the root of the API, with variables in braces."""
        return _VARIABLE.sub(r"{\1}", self.rule)

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the path."""
        return tuple(_VARIABLE.findall(self.rule))

    @property
    def media_type(self) -> str:
        """Media type of the response."""
        return TEXT if self.result is str else JSON


_operations: dict[str, Operation] = {}


def operations() -> Mapping[str, Operation]:
    """All operations by id, in the order of their definition."""
    return _operations


def operation(
    bp: Blueprint, rule: str, *, is_slow: QueryCondition = lambda _query: False
) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Make a view an operation. Requests that are slow, by their query, wait as those for run ranges do."""

    def register(view: Callable[..., Any]) -> Callable[..., Response]:
        hints = get_type_hints(view)
        described = Operation(
            id=view.__name__,
            rule=rule,
            query=hints.get("query", Query),
            result=hints["return"],
            view=view,
        )
        _operations[described.id] = described

        @wraps(view)
        def respond(**path: Any) -> Response:
            query = queries.parse(described.query)
            arguments = _path_arguments(path)
            if described.query is not Query:
                arguments["query"] = query
            result = view(**arguments)
            body = result if isinstance(result, str) else _encoder.encode(result)
            return etag_response(body, described.media_type)

        view_of_rule = limited_as(RequestKind.RUN_RANGE, is_slow)(cached_view(respond))
        bp.add_url_rule(rule, view.__name__, view_of_rule)
        return view_of_rule

    return register


def _path_arguments(path: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments from a path. Raises NotFound."""
    if "cluster" not in path:
        return dict(path)
    try:
        return {**path, "cluster": Cluster(path["cluster"])}
    except ValueError:
        raise NotFound(_NO_CLUSTER) from None
