"""Reader of a cluster's database for pages and API; results are dataclasses with computed job states."""

from datetime import timedelta

import sqlalchemy as sa

import db
from storage import import_progress
from storage.cluster_reader import ClusterReader
from storage.import_progress import ImportProgress
from storage.mutes import MuteReader
from storage.run_reader import RunReader


class MirrorReader(RunReader, ClusterReader, MuteReader):
    """All queries of pages and API. A job that is silent for `stuck_after` is stuck."""

    def __init__(self, database: sa.Engine, stuck_after: timedelta) -> None:
        RunReader.__init__(self, database, stuck_after)
        ClusterReader.__init__(self, database)
        MuteReader.__init__(self, database)

    def schema(self) -> db.Schema:
        """The schema of the database."""
        with self._database.connect() as connection:
            return db.schema(connection)

    def import_progress(self) -> ImportProgress | None:
        """Progress of the import from an earlier mirror; `None` if its tables are not in the database."""
        with self._database.connect() as connection:
            return import_progress.read(connection)
