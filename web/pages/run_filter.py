"""A range of runs as an address asks for it: what timeline and statistics share."""

from dataclasses import dataclass
from urllib.parse import urlencode

from dqmsquare_cfg import Cluster
from storage.run_queries import RunFilter
from web import databases, query_args

NOT_NUMBERS = "to, from, below, bad_only and ls must be integers"
# What is shown if no range is asked for: so many run numbers back from the newest.
_USUAL_RANGE = 1000


@dataclass(frozen=True, slots=True)
class RunRange:
    """What of a cluster's runs is asked for."""

    cluster: Cluster
    search: RunFilter

    @property
    def query(self) -> str:
        """The query of its address."""
        search = self.search
        pairs = {
            "db": self.cluster,
            "from": search.first,
            "to": search.last,
            "bad_only": 1 if search.crashed_only else None,
            "ls": 1 if search.with_lumisections else None,
            "run_key": search.run_key,
            "version": search.cmssw_version,
            "client": search.client,
        }
        return urlencode({name: value for name, value in pairs.items() if value is not None})


def of_request() -> RunRange:
    """Run range of a request, `from` and `to` in either order. Raises BadRequest, DatabaseUnavailable."""
    cluster = query_args.shown_cluster()
    reader = databases.stale_ok_reader(cluster)
    last = query_args.integer("to", NOT_NUMBERS)
    last = (reader.run_span().highest or 0) if last is None else last
    first = query_args.integer("from", NOT_NUMBERS)
    first = max(0, last - _USUAL_RANGE) if first is None else first
    search = RunFilter(
        first=min(first, last),
        last=max(first, last),
        crashed_only=bool(query_args.integer("bad_only", NOT_NUMBERS)),
        with_lumisections=bool(query_args.integer("ls", NOT_NUMBERS)),
        run_key=query_args.text("run_key"),
        cmssw_version=query_args.text("version"),
        client=query_args.text("client"),
    )
    return RunRange(cluster, search)
