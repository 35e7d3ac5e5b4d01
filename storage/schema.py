"""Schema of a database: its revision, whether this program can use it, and its migration.

Within a release migrations only add, so that old and new programs can run side by side. The oldest schema
revision whose programs can still use the database is in `mirror_metadata.readable_from`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_MIGRATION_TIMEOUT_MS = 600_000
# Other encodings lack characters that logs contain; documents with them would be quarantined.
_ENCODING = "UTF8"


class SchemaState(Enum):
    """Relation of a database's schema to the one that this program needs."""

    READY = "ready"
    TOO_OLD = "too old"
    TOO_NEW = "too new"
    LEGACY = "an earlier mirror's"
    FOREIGN = "another program's"
    ENCODING = "of another encoding"


@dataclass(frozen=True)
class Schema:
    """A database's schema revision, `None` before the first migration, and whether this program can use it.

    `foreign_tables`: tables of another program that have names of the mirror's. `encoding`: the encoding
    of a database that can't store all characters.
    """

    revision: str | None
    state: SchemaState
    foreign_tables: tuple[str, ...] = ()
    encoding: str | None = None

    def __str__(self) -> str:
        if self.state is SchemaState.LEGACY:
            return "the tables of an earlier mirror, which `db adopt` imports"
        if self.state is SchemaState.FOREIGN:
            return f"tables of another program under the mirror's names: {', '.join(self.foreign_tables)}"
        if self.state is SchemaState.ENCODING:
            return f"the encoding {self.encoding}; the mirror needs UTF8"
        return f"schema {self.revision or 'none'}, {self.state.value} for this program ({head_revision()})"


class SecretChanged(Exception):
    """Raised for a database with another PSEUDONYM_SECRET; continuing would store everything twice."""


def head_revision() -> str:
    """The latest schema revision that this program knows."""
    return _revisions()[-1]


def read_schema(connection: sa.Connection) -> Schema:
    """The schema of a database."""
    revision = _revision(connection)
    if revision == head_revision():
        return Schema(revision, SchemaState.READY)
    if revision is None:
        return _unmigrated_schema(connection)
    known = _revisions()
    if revision in known:
        return Schema(revision, SchemaState.TOO_OLD)
    readable_from = connection.scalar(
        sa.select(db.mirror_metadata.c.value).where(db.mirror_metadata.c.name == "readable_from")
    )
    return Schema(revision, SchemaState.READY if readable_from in known else SchemaState.TOO_NEW)


def migrate(database: sa.Engine) -> Schema:
    """Migrate a database to the latest schema; concurrent calls wait for the one that migrates.

    Only a schema that is too old is changed. One that is newer than this program is left alone, as are the
    tables of an earlier mirror or of other programs, and databases with another encoding than UTF-8.
    """
    with migration_lock(database) as connection:
        before = read_schema(connection)
        connection.commit()
        if before.state is not SchemaState.TOO_OLD:
            return before
        upgrade(connection)
        connection.commit()
        after = read_schema(connection)
        connection.commit()
    log.info("schema_migrated from=%s to=%s", before.revision, after.revision)
    return after


@contextmanager
def migration_lock(database: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that holds the migration lock and allows long statements."""
    with database.connect() as connection:
        connection.execute(sa.text("SET statement_timeout = :ms").bindparams(ms=_MIGRATION_TIMEOUT_MS))
        connection.execute(sa.select(sa.func.pg_advisory_lock(db.MIGRATION_LOCK)))
        connection.commit()
        try:
            yield connection
        finally:
            # Closing the connection releases the lock, whatever state the transaction is in.
            connection.invalidate()


def upgrade(connection: sa.Connection) -> None:
    """Run the missing migrations, within the connection's transaction if there is one."""
    # Alembic takes 8 MB of memory, so it is imported only by a process that migrates.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def verify_secret(connection: sa.Connection, check_value: UUID) -> None:
    """Compare the check value of PSEUDONYM_SECRET with the stored one; the first caller stores it.

    Raises SecretChanged if they differ.
    """
    table = db.mirror_metadata
    values = {"name": "secret_check", "value": str(check_value)}
    connection.execute(insert(table).values(values).on_conflict_do_nothing())
    stored = connection.scalar(sa.select(table.c.value).where(table.c.name == "secret_check"))
    if stored != str(check_value):
        raise SecretChanged


def _unmigrated_schema(connection: sa.Connection) -> Schema:
    inspector = sa.inspect(connection)
    if _is_legacy(inspector):
        return Schema(None, SchemaState.LEGACY)
    encoding: str = connection.scalars(sa.text("SHOW server_encoding")).one()
    if encoding != _ENCODING:
        return Schema(None, SchemaState.ENCODING, encoding=encoding)
    found = {*inspector.get_table_names(), *inspector.get_view_names()}
    foreign = tuple(sorted(db.metadata.tables.keys() & found))
    return Schema(None, SchemaState.FOREIGN if foreign else SchemaState.TOO_OLD, foreign)


def _is_legacy(inspector: sa.Inspector) -> bool:
    """Whether the tables are an earlier mirror's, whose `runs` has a column of logs."""
    return inspector.has_table("runs") and "stdlog_start" in {
        column["name"] for column in inspector.get_columns("runs")
    }


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


@cache
def _revisions() -> tuple[str, ...]:
    """The schema revisions that this program knows, oldest first, from the names of the migration files."""
    scripts = (MIGRATIONS / "versions").glob("*.py")
    revisions = tuple(sorted(script.name.partition("_")[0] for script in scripts))
    if not revisions:
        raise RuntimeError(f"no migrations in {MIGRATIONS}")
    return revisions
