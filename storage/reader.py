"""Reader of a cluster's database for pages and API; results are dataclasses with computed job states."""

import sqlalchemy as sa

from storage import import_progress
from storage.cluster_reader import ClusterReader
from storage.crash_reader import CrashReader
from storage.delivery_reader import DeliveryReader
from storage.efficiency_reader import EfficiencyReader
from storage.import_progress import ImportProgress
from storage.job_history import JobHistoryReader
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
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
    """All queries of pages and API.

    The states of jobs are computed by `rules`, logs are unpacked by `dictionaries`.
    """

    def __init__(self, database: sa.Engine, rules: StateRules, dictionaries: DictionaryStore) -> None:
        JobHistoryReader.__init__(self, database, rules, dictionaries)
        DeliveryReader.__init__(self, database)
        EfficiencyReader.__init__(self, database)
        ClusterReader.__init__(self, database)
        CrashReader.__init__(self, database)
        LogSearchReader.__init__(self, database, dictionaries)
        MuteReader.__init__(self, database)
        RunListingReader.__init__(self, database)

    def schema(self) -> Schema:
        """The schema of the database."""
        with self._database.connect() as connection:
            return read_schema(connection)

    def import_progress(self) -> ImportProgress | None:
        """Progress of the import from an earlier mirror; `None` if its tables are not in the database."""
        with self._database.connect() as connection:
            return import_progress.read(connection)
