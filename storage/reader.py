"""What pages and the API read: the mirror as it is, job states computed, everything in dataclasses."""

from datetime import timedelta

import sqlalchemy as sa

import db
from storage import import_progress
from storage.cluster_reader import ClusterReader
from storage.import_progress import ImportProgress
from storage.mutes import MuteReader
from storage.outline_reader import OutlineReader
from storage.run_reader import RunReader


class MirrorReader(RunReader, OutlineReader, ClusterReader, MuteReader):
    """The pages' side of a cluster's database. `stuck_after` is how long a silent job is not yet stuck."""

    def __init__(self, database: sa.Engine, stuck_after: timedelta) -> None:
        RunReader.__init__(self, database, stuck_after)
        OutlineReader.__init__(self, database, stuck_after)
        ClusterReader.__init__(self, database)
        MuteReader.__init__(self, database)

    def schema(self) -> db.Schema:
        """How the database's schema stands to this program."""
        with self._database.connect() as connection:
            return db.schema(connection)

    def import_progress(self) -> ImportProgress | None:
        """How far an earlier mirror's tables are taken over; `None` if there are none."""
        with self._database.connect() as connection:
            return import_progress.read(connection)
