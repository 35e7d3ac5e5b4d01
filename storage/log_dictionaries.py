"""The dictionaries of a cluster's database: logs are written by the newest, and read by the one they need."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
import zstandard
from sqlalchemy.dialects.postgresql import insert

import db
from storage import codecs, log_compression
from storage.log_compression import ZstdDictionary

log = logging.getLogger(__name__)

# The newest logs of so many jobs, about ten runs; half of them must hold so much to have enough in common.
_LOGS = 300
_LEAST_BYTES = 1_000_000
# A new dictionary must make logs so much smaller to be worth its place.
_GAIN = 0.95


class DictionaryStore:
    """Reads and trains the dictionaries of a database; what was read once is kept, for it never changes."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._known: dict[int, ZstdDictionary] = {}

    def latest(self) -> ZstdDictionary | None:
        """The dictionary that logs are written by; `None` where none was trained yet."""
        table = db.log_dictionaries
        statement = sa.select(table).order_by(table.c.version.desc()).limit(1)
        with self._database.connect() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else self._keep(row)

    def for_log(self, packed: bytes) -> ZstdDictionary | None:
        """The dictionary that a packed log needs; `None` if it needs none."""
        version = log_compression.required_version(packed)
        return None if version is None else self._known.get(version) or self._read(version)

    def train(self) -> ZstdDictionary | None:
        """Trains a dictionary on the newest logs and keeps it if it gains; `None` if not, or on too few."""
        # Half of them are held back, since a dictionary is always good at what it was trained on.
        logs = self._newest_logs()
        told, held_back = logs[::2], logs[1::2]
        if len(logs) < _LOGS or sum(map(len, told)) < _LEAST_BYTES:
            return None
        before = self.latest()
        version = 1 if before is None else before.version + 1
        try:
            trained = ZstdDictionary(version, log_compression.train(told, version), datetime.now(UTC))
        except zstandard.ZstdError as error:
            log.warning("no log dictionary can be trained reason=%s", error)
            return None
        share = _size(held_back, trained) / _size(held_back, before)
        log.info("trained log dictionary version=%d share_of_before=%.2f", version, share)
        return self._add(trained) if share < _GAIN else None

    def _read(self, version: int) -> ZstdDictionary:
        table = db.log_dictionaries
        with self._database.connect() as connection:
            return self._keep(connection.execute(sa.select(table).where(table.c.version == version)).one())

    def _newest_logs(self) -> list[bytes]:
        jobs = db.jobs.c
        newest = (
            sa.select(db.job_details.c.log)
            .join(db.jobs)
            .where(jobs.exit_code.is_not(None))
            .order_by(jobs.run.desc())
            .limit(_LOGS)
        )
        with self._database.connect() as connection:
            packed = connection.scalars(newest).all()
        return [codecs.log_text(codecs.unpack_log(one, 0, self.for_log(one))) for one in packed]

    def _add(self, trained: ZstdDictionary) -> ZstdDictionary | None:
        row = {"version": trained.version, "content": trained.content, "trained_at": trained.trained_at}
        with self._database.begin() as connection:
            connection.execute(insert(db.log_dictionaries).on_conflict_do_nothing(), row)
        # Should another grabber have been faster, its dictionary is the one.
        return self.latest()

    def _keep(self, row: sa.Row[tuple[object, ...]]) -> ZstdDictionary:
        kept = ZstdDictionary(row.version, bytes(row.content), row.trained_at)
        self._known[kept.version] = kept
        return kept


def _size(logs: Sequence[bytes], by: ZstdDictionary | None) -> int:
    return sum(len(log_compression.compress(one, by)) for one in logs)
