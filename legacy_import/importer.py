"""A batch of the earlier mirror's documents taken over, each through the grabbers' own door."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, islice
from uuid import UUID

import psycopg2.errors
import sqlalchemy as sa

import db
from dqm2.pseudonyms import Pseudonymizer
from dqm2.redaction.redactor import get_redactor
from dqmsquare_cfg import Settings
from grabbing.document_pipeline import NotUnderstood, Rules, Sifter
from legacy_import import batches, legacy_tables, machine_states
from legacy_import.legacy_documents import EarlierDelivery, EarlierJob
from legacy_import.legacy_reader import Reader, Runs
from storage.log_compression import ZstdDictionary
from storage.log_dictionaries import DictionaryStore
from storage.rows import DocumentRow
from storage.upserts import notify, write_documents

# All that is taken over is of a machine's first epoch; should its revisions have started over, its grabber
# sees that.
EPOCH = 0
NO_MACHINE = "no machine is named"
_AT_ONCE = 200
_REFUSALS = (sa.exc.DataError, sa.exc.IntegrityError, ValueError)


class Adopter:
    """Takes over what a cluster's database has of an earlier mirror, a batch at a time."""

    def __init__(self, database: sa.Engine, settings: Settings) -> None:
        self._database = database
        self._identities = Pseudonymizer(settings.pseudonym_secret)
        self._sifter = Sifter(Rules(settings.known_hosts, settings.redaction_allowed_hosts))
        self._redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
        self._keep = settings.job_log_retention
        self._dictionaries = DictionaryStore(database)
        self._machines: dict[UUID, int] = {}

    def take_over_some(self) -> bool:
        """Takes over the first batch that nobody has in hand, in one transaction; whether there was one."""
        while True:
            try:
                return self._take_over_some()
            except sa.exc.OperationalError as error:
                # With a grabber that writes the same runs; one of the two has to begin again.
                if not isinstance(error.orig, psycopg2.errors.DeadlockDetected):
                    raise

    def _take_over_some(self) -> bool:
        dictionary = self._dictionaries.latest()
        with self._database.begin() as connection:
            batch = batches.take(connection)
            if batch is None:
                return False
            legacy_tables.reveal(connection)
            # What a crash of PostgreSQL takes back it takes back whole, for the next process to do again.
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            self._machines = self._machines or _machines(connection)
            left_out: Counter[str] = Counter()
            if batch.first_run is None or batch.last_run is None:
                machine_states.take_over(connection, self._machine, self._redact)
            else:
                runs = Runs(batch.first_run, batch.last_run)
                for rows in self._rows(connection, runs):
                    self._write(connection, rows, dictionary, left_out)
            batches.complete(connection, batch, left_out)
        return True

    def row(
        self, found: EarlierJob | EarlierDelivery, dictionary: ZstdDictionary | None, now: datetime
    ) -> tuple[DocumentRow, Sequence[str]]:
        """The row that an earlier one becomes, and its fields that were left out. Raises NotUnderstood."""
        if found.host is None:
            raise NotUnderstood(NO_MACHINE)
        document = found.document()
        identity = self._identities.for_document(found.host, str(document["_id"]))
        row, left_out = self._sifter.row(identity, document, dictionary, now=now)
        is_pruned = self._keep is not None and row.document.updated_at < now - self._keep
        return replace(row, details=None) if is_pruned else row, left_out

    def _rows(self, connection: sa.Connection, runs: Runs) -> Iterator[list[EarlierJob | EarlierDelivery]]:
        since = None if self._keep is None else datetime.now(UTC) - self._keep
        reader = Reader(connection, legacy_tables.SET_APART, since)
        found: Iterator[EarlierJob | EarlierDelivery] = chain(reader.jobs(runs), reader.deliveries(runs))
        while rows := list(islice(found, _AT_ONCE)):
            yield rows

    def _write(
        self,
        connection: sa.Connection,
        found: Iterable[EarlierJob | EarlierDelivery],
        dictionary: ZstdDictionary | None,
        left_out: Counter[str],
    ) -> None:
        """Writes some rows, each machine's together; what can't be is counted by its reason."""
        now = datetime.now(UTC)
        by_machine: dict[int, list[DocumentRow]] = {}
        for one in found:
            try:
                row, _ = self.row(one, dictionary, now)
            except NotUnderstood as reason:
                left_out[str(reason)] += 1
            else:
                by_machine.setdefault(self._machine(one.host or ""), []).append(row)
        for machine_id, rows in by_machine.items():
            written = _written(connection, machine_id, rows, left_out)
            notify(connection, written)

    def _machine(self, host: str) -> int:
        return self._machines[self._identities.for_machine(host)]


def _machines(connection: sa.Connection) -> dict[UUID, int]:
    machines = sa.select(db.machines.c.identity, db.machines.c.id)
    return {row.identity: row.id for row in connection.execute(machines)}


def _written(
    connection: sa.Connection, machine_id: int, rows: Sequence[DocumentRow], left_out: Counter[str]
) -> Sequence[DocumentRow]:
    """Writes rows together, or, if the database refuses one of them, each by itself; those that it took."""
    try:
        with connection.begin_nested():
            write_documents(connection, machine_id, EPOCH, rows)
    except _REFUSALS as error:
        if len(rows) == 1:
            origin = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            left_out[f"the database refuses it: {type(origin).__name__}"] += 1
            return []
        return [row for one in rows for row in _written(connection, machine_id, [one], left_out)]
    return rows
