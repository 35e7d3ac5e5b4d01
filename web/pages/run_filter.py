"""The run filter that the timeline and the statistics share, as URL parameters."""

from dataclasses import dataclass
from urllib.parse import urlencode

from dqmsquare_cfg import Cluster
from storage.run_queries import RunFilter
from web import databases, query_args

INTEGER_ERROR = "to, from, below, bad_only and ls must be integers"
# Width of the range of run numbers up to the newest that is shown by default.
_DEFAULT_RANGE = 1000


@dataclass(frozen=True, slots=True)
class RunFilterParams:
    """A cluster and the filter for its runs; `is_open_ended`: up to the newest run, whichever that is."""

    cluster: Cluster
    filter: RunFilter
    is_open_ended: bool

    @property
    def query_string(self) -> str:
        """The query string of its URL."""
        wanted = self.filter
        params = {
            "db": self.cluster,
            "from": wanted.first,
            "to": None if self.is_open_ended else wanted.last,
            "bad_only": 1 if wanted.crashed_only else None,
            "ls": 1 if wanted.with_lumisections else None,
            "run_key": wanted.run_key,
            "version": wanted.cmssw_version,
            "client": wanted.client,
        }
        return urlencode({name: value for name, value in params.items() if value is not None})


def request_params() -> RunFilterParams:
    """The filter of the current request. Raises BadRequest, DatabaseUnavailable."""
    cluster = query_args.page_cluster()
    reader = databases.stale_ok_reader(cluster)
    requested_last = query_args.integer("to", INTEGER_ERROR)
    last = (reader.run_span().highest or 0) if requested_last is None else requested_last
    first = query_args.integer("from", INTEGER_ERROR)
    first = max(0, last - _DEFAULT_RANGE) if first is None else first
    run_filter = RunFilter(
        first=min(first, last),
        last=max(first, last),
        crashed_only=bool(query_args.integer("bad_only", INTEGER_ERROR)),
        with_lumisections=bool(query_args.integer("ls", INTEGER_ERROR)),
        run_key=query_args.text("run_key"),
        cmssw_version=query_args.text("version"),
        client=query_args.text("client"),
    )
    return RunFilterParams(cluster, run_filter, is_open_ended=requested_last is None)
