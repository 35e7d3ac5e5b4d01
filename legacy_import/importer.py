"""Import of a batch of documents, through the same allowlist as documents that the grabber fetches.

A batch is a range of runs, and the unit of work and of transactions. The list of batches is in the database,
so that processes share it and an interrupted import continues.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from uuid import UUID

import psycopg2.errors
import sqlalchemy as sa

import db
from dqm2.document_parser import InvalidDocument
from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Settings
from grabbing.document_pipeline import DocumentProcessor
from legacy_import import legacy_tables, machine_states
from legacy_import.legacy_reader import LegacyDelivery, LegacyJob, LegacyReader, RunRange
from legacy_import.legacy_tables import LegacyTables
from storage.import_progress import SkippedRows
from storage.log_compression import ZstdDictionary
from storage.log_dictionaries import DictionaryStore
from storage.rows import DocumentRow
from storage.upserts import count_dropped_fields, notify, write_documents

# Imported documents belong to a machine's first epoch. If its revisions have restarted since, its grabber
# detects that.
FIRST_EPOCH = 0
_NO_HOST = "without a host name"
_NO_ID = "without an id"
_NO_RUN = "without a run, such as dqm-stats: they hold nothing to import"
_INVALID_STATE = "machine states without a valid host, time or state"
# One or two seconds of work. The documents of one run are never split.
_DOCUMENTS_PER_BATCH = 500
_RowsByMachine = Mapping[int, Sequence[DocumentRow]]
_REJECTIONS = (sa.exc.DataError, sa.exc.IntegrityError, ValueError)


@dataclass(frozen=True, slots=True)
class ImportBatch:
    """The documents of a range of runs; without runs, whatever belongs to none: the machine states."""

    number: int
    first_run: int | None
    last_run: int | None
    documents: int


def plan_batches(connection: sa.Connection, tables: LegacyTables) -> list[ImportBatch]:
    """All batches: what belongs to no run, which is quick, and then the runs, newest first."""
    documents = sa.union_all(
        *(
            sa.select(table.c.run).where(legacy_tables.has_run(table))
            for table in (tables.runs, tables.graphs)
        )
    ).subquery()
    by_run = sa.select(documents.c.run, sa.func.count().label("number")).group_by(documents.c.run).subquery()
    total = sa.cast(sa.func.sum(by_run.c.number).over(order_by=by_run.c.run.desc()), sa.BigInteger)
    batched = sa.select(by_run, ((total - 1) // _DOCUMENTS_PER_BATCH).label("batch")).subquery()
    statement = (
        sa.select(
            sa.func.min(batched.c.run).label("first_run"),
            sa.func.max(batched.c.run).label("last_run"),
            sa.cast(sa.func.sum(batched.c.number), sa.Integer).label("documents"),
        )
        .group_by(batched.c.batch)
        .order_by(sa.desc("last_run"))
    )
    batches = [
        ImportBatch(number, row.first_run, row.last_run, row.documents)
        for number, row in enumerate(connection.execute(statement), start=1)
    ]
    return [ImportBatch(0, None, None, 0), *batches]


def save_batches(connection: sa.Connection, batches: Sequence[ImportBatch]) -> None:
    """Store the list of batches."""
    connection.execute(sa.insert(db.import_batches), [asdict(batch) for batch in batches])


def _claim_batch(connection: sa.Connection) -> ImportBatch | None:
    """Lock the first batch that is not done and not locked by another process, for this transaction."""
    table = db.import_batches
    statement = (
        sa.select(table.c.number, table.c.first_run, table.c.last_run, table.c.documents)
        .where(table.c.completed_at.is_(None))
        .order_by(table.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else ImportBatch(*row)


def _complete_batch(connection: sa.Connection, batch: ImportBatch, skipped: SkippedRows) -> None:
    """Mark a batch as done, with the rows that it skipped."""
    table = db.import_batches
    statement = sa.update(table).where(table.c.number == batch.number)
    connection.execute(statement.values(completed_at=sa.func.now(), skipped=skipped.to_json()))


class Importer:
    """Imports the legacy tables of a cluster's database, batch by batch."""

    def __init__(self, database: sa.Engine, settings: Settings) -> None:
        self._database = database
        self._pseudonymizer = Pseudonymizer(settings.pseudonym_secret)
        self._processor = DocumentProcessor(settings.known_hosts, settings.redaction_allowed_hosts)
        self._log_retention = settings.job_log_retention
        self._dictionaries = DictionaryStore(database)
        self._machine_ids: dict[UUID, int] = {}

    def import_next_batch(self) -> bool:
        """Import the first batch that no other process works on; returns whether there was one."""
        while True:
            try:
                return self._import_next_batch()
            except sa.exc.OperationalError as error:
                # Deadlock with a grabber that writes documents of the same runs.
                if not isinstance(error.orig, psycopg2.errors.DeadlockDetected):
                    raise

    def to_row(
        self, found: LegacyJob | LegacyDelivery, dictionary: ZstdDictionary | None, now: datetime
    ) -> tuple[DocumentRow, Sequence[str]]:
        """The row of a document, and its dropped fields. Raises InvalidDocument."""
        if found.host is None:
            raise InvalidDocument(_NO_HOST)
        if not found.id:
            raise InvalidDocument(_NO_ID)
        identity = self._pseudonymizer.for_document(found.host, found.id)
        row, dropped_fields = self._processor.row(identity, found.to_document(), dictionary, now=now)
        is_expired = self._log_retention is not None and row.document.updated_at < now - self._log_retention
        return replace(row, details=None) if is_expired else row, dropped_fields

    def _import_next_batch(self) -> bool:
        dictionary = self._dictionaries.latest()
        with self._database.begin() as connection:
            batch = _claim_batch(connection)
            if batch is None:
                return False
            legacy_tables.allow_reads(connection)
            # If PostgreSQL crashes and loses the transaction, the batch is simply imported again.
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            self._machine_ids = self._machine_ids or _read_machine_ids(connection)
            skipped, dropped_fields = SkippedRows(), Counter[str]()
            if batch.first_run is None or batch.last_run is None:
                self._import_without_run(connection, skipped)
            else:
                documents = self._read(connection, RunRange(batch.first_run, batch.last_run))
                by_machine, dropped_fields = self._convert(documents, dictionary, skipped)
                # Only now: others that write the same rows wait until the end of the batch.
                notify(connection, _write_valid(connection, by_machine, skipped))
            _complete_batch(connection, batch, skipped)
            # Last, since other batches wait for these rows.
            count_dropped_fields(connection, dropped_fields)
        return True

    def _import_without_run(self, connection: sa.Connection, skipped: SkippedRows) -> None:
        """Import the machine states, and count the rows without a run."""
        for table in (legacy_tables.RENAMED.runs, legacy_tables.RENAMED.graphs):
            has_no_run = sa.not_(legacy_tables.has_run(table))
            count = sa.select(sa.func.count()).select_from(table).where(has_no_run)
            skipped.add(_NO_RUN, None, connection.scalar(count) or 0)
        if legacy_tables.has_machine_states(connection, legacy_tables.RENAMED):
            machine_states.import_states(connection, self._machine_id, self._processor.redact)
            invalid = machine_states.count_invalid(connection, legacy_tables.RENAMED)
            skipped.add(_INVALID_STATE, None, invalid)

    def _read(self, connection: sa.Connection, runs: RunRange) -> Iterator[LegacyJob | LegacyDelivery]:
        logs_since = None if self._log_retention is None else datetime.now(UTC) - self._log_retention
        reader = LegacyReader(connection, legacy_tables.RENAMED, logs_since)
        return chain(reader.jobs(runs), reader.deliveries(runs))

    def _convert(
        self,
        documents: Iterable[LegacyJob | LegacyDelivery],
        dictionary: ZstdDictionary | None,
        skipped: SkippedRows,
    ) -> tuple[_RowsByMachine, Counter[str]]:
        """The rows of documents by machine, and the dropped fields; counts the invalid ones."""
        now = datetime.now(UTC)
        by_machine: dict[int, list[DocumentRow]] = {}
        dropped_fields = Counter[str]()
        for document in documents:
            try:
                row, dropped = self.to_row(document, dictionary, now)
            except InvalidDocument as reason:
                skipped.add(str(reason), document.run)
            else:
                by_machine.setdefault(self._machine_id(document.host or ""), []).append(row)
                dropped_fields.update(dropped)
        return by_machine, dropped_fields

    def _machine_id(self, host: str) -> int:
        return self._machine_ids[self._pseudonymizer.for_machine(host)]


def _read_machine_ids(connection: sa.Connection) -> dict[UUID, int]:
    machines = sa.select(db.machines.c.identity, db.machines.c.id)
    return {row.identity: row.id for row in connection.execute(machines)}


def _write_valid(
    connection: sa.Connection, by_machine: _RowsByMachine, skipped: SkippedRows
) -> Sequence[DocumentRow]:
    """Write rows together, or one by one if the database rejects any; returns those that were written."""
    rows = [(machine_id, row) for machine_id, of_machine in by_machine.items() for row in of_machine]
    try:
        with connection.begin_nested():
            write_documents(connection, FIRST_EPOCH, by_machine)
    except _REJECTIONS as error:
        if len(rows) == 1:
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            skipped.add(f"rejected by the database: {type(cause).__name__}", rows[0][1].run)
            return []
        return [
            written
            for machine_id, row in rows
            for written in _write_valid(connection, {machine_id: [row]}, skipped)
        ]
    return [row for _, row in rows]
