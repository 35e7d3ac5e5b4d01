"""Readers of a cluster's database for pages and API; results are dataclasses with computed job states."""

import sqlalchemy as sa

from storage import import_progress
from storage.cluster_reader import ClusterReader
from storage.crash_reader import CrashReader
from storage.delivery_reader import DeliveryReader
from storage.efficiency_reader import EfficiencyReader
from storage.import_progress import ImportProgress
from storage.job_reader import JobReader
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
from storage.log_search import LogSearchReader
from storage.mutes import MuteReader
from storage.playback_comparison_reader import PlaybackComparisonReader
from storage.run_figures import RunFiguresReader
from storage.run_listing import RunListingReader
from storage.run_reader import RunReader
from storage.run_summaries import RunSummariesReader
from storage.schema import Schema, read_schema
from storage.shift_reader import ShiftReader
from storage.transitions import TransitionReader


class MirrorReader:
    """Reader of a cluster's database: a reader for each subject, on the same connections."""

    def __init__(self, database: sa.Engine, rules: StateRules, dictionaries: DictionaryStore) -> None:
        self._database = database
        self.runs = RunReader(database, rules)
        self.run_figures = RunFiguresReader(database, rules)
        self.run_summaries = RunSummariesReader(database, rules)
        self.run_listing = RunListingReader(database)
        self.jobs = JobReader(database, self.runs, dictionaries)
        self.logs = LogSearchReader(database, dictionaries)
        self.deliveries = DeliveryReader(database)
        self.crashes = CrashReader(database)
        self.cluster = ClusterReader(database)
        self.mutes = MuteReader(database)
        self.transitions = TransitionReader(database)
        self.shifts = ShiftReader(database, self.runs)
        self.playback_comparison = PlaybackComparisonReader(database, self.runs)
        self.efficiency = EfficiencyReader(database)

    def schema(self) -> Schema:
        """The schema of the database."""
        with self._database.connect() as connection:
            return read_schema(connection)

    def import_progress(self) -> ImportProgress | None:
        """Progress of the import from an earlier mirror; `None` if its tables are not in the database."""
        with self._database.connect() as connection:
            return import_progress.read(connection)
