"""Reader of a cluster's database for pages and API; results are dataclasses with computed job states."""

from storage import import_progress
from storage.cluster_reader import ClusterReader
from storage.crash_reader import CrashReader
from storage.delivery_reader import DeliveryReader
from storage.efficiency_reader import EfficiencyReader
from storage.import_progress import ImportProgress
from storage.job_history import JobHistoryReader
from storage.log_search import LogSearchReader
from storage.mutes import MuteReader
from storage.playback_comparison import PlaybackComparisonReader
from storage.run_figures import RunFiguresReader
from storage.run_listing import RunListingReader
from storage.run_summaries import RunSummariesReader
from storage.schema import Schema, read_schema
from storage.shift_reader import ShiftReader
from storage.transitions import TransitionReader


class MirrorReader(
    JobHistoryReader,
    ShiftReader,
    RunFiguresReader,
    RunSummariesReader,
    PlaybackComparisonReader,
    EfficiencyReader,
    DeliveryReader,
    ClusterReader,
    CrashReader,
    LogSearchReader,
    MuteReader,
    RunListingReader,
    TransitionReader,
):
    """All queries of pages and API, in one class whose methods the cache wraps one by one."""

    def schema(self) -> Schema:
        """The schema of the database."""
        with self._database.connect() as connection:
            return read_schema(connection)

    def import_progress(self) -> ImportProgress | None:
        """Progress of the import from an earlier mirror; `None` if its tables are not in the database."""
        with self._database.connect() as connection:
            return import_progress.read(connection)
