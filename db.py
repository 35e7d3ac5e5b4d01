"""PostgreSQL access: tables, engines, and the schema with its migrations.

Each cluster has a database of its own, and both have the same schema. Queries are in `storage/` and
`legacy_import/`. Within a release migrations only add, so that old and new programs can run side by side;
`mirror_metadata.readable_from` names the oldest schema revision whose programs can still use the database.

    python db.py migrate     migrate both databases to the latest schema
    python db.py status      print their schema revisions
    python db.py prune       delete logs and series older than JOB_LOG_RETENTION_DAYS
    python db.py adopt       import the data of an earlier mirror (`legacy_import/`)
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.engine.interfaces import IsolationLevel

import dqmsquare_cfg
from dqmsquare_cfg import Cluster

log = logging.getLogger(__name__)

# Keys of advisory locks in a cluster's database.
MIGRATION_LOCK = 0x64716D01
GRABBER_LOCK = 0x64716D02
MUTE_LOCK = 0x64716D07
# Used in the playback cluster's database only: sending a control command, joining the queue of commands,
# counting a login attempt.
COMMAND_LOCK = 0x64716D03
QUEUE_LOCK = 0x64716D04
LOGIN_LOCK = 0x64716D05
# First of two keys; the second is the id of a server process that executes control commands.
WORKER_LOCKS = 0x64716D06

# Channel of `NOTIFY`. The payload is a change (`storage/notifications.py`), or a word if anything may have
# changed.
CHANNEL = "mirror_changes"

_CONNECT_TIMEOUT_S = 2
_STATEMENT_TIMEOUT_MS = 30_000
_MIGRATION_TIMEOUT_MS = 600_000
# PostgreSQL's settings for each connection. With these keepalives it notices within 8 s that the client's
# machine is gone and releases its locks, so that another grabber takes over in seconds rather than hours.
_SESSION_SETTINGS = {
    "statement_timeout": _STATEMENT_TIMEOUT_MS,
    "timezone": "UTC",
    "tcp_keepalives_idle": 4,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 2,
    "tcp_user_timeout": 8000,
}
MIGRATIONS = Path(__file__).resolve().parent / "migrations"

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)
_Time = sa.TIMESTAMP(timezone=True)

# Properties of the database: the check value of PSEUDONYM_SECRET, and `readable_from`.
mirror_metadata = sa.Table(
    "mirror_metadata",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# Machines by their keyed hash. (epoch, revision) is the checkpoint: all documents up to it are stored, and
# `last_document` is the one at it, in its version of `last_document_at`. `clock_at` is the machine's own
# clock, i.e. the time of its newest document. `state_checked_at` is the time at which an earlier mirror last
# polled the machine's state; the time of later polls is in the heartbeat.
machines = sa.Table(
    "machines",
    metadata,
    sa.Column("id", sa.SmallInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("identity", sa.Uuid, nullable=False, unique=True),
    sa.Column("label", sa.Text, nullable=False, unique=True),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("revision", sa.BigInteger),
    sa.Column("last_document", sa.Uuid),
    sa.Column("last_document_at", _Time),
    sa.Column("clock_at", _Time),
    sa.Column("newest_run", sa.Integer),
    sa.Column("state_checked_at", _Time),
)

# Changes of a machine's state as the gateway reports it: one row per change, not per poll.
machine_states = sa.Table(
    "machine_states",
    metadata,
    sa.Column("machine_id", sa.ForeignKey("machines.id"), primary_key=True),
    sa.Column("since", _Time, primary_key=True),
    sa.Column("is_up", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
)

# A single row: the grabber that holds the cluster's lock, its last heartbeat, and the status of each link.
heartbeat = sa.Table(
    "heartbeat",
    metadata,
    sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    sa.Column("leader_id", sa.Uuid, nullable=False),
    sa.Column("started_at", _Time, nullable=False),
    sa.Column("heartbeat_at", _Time, nullable=False),
    sa.Column("links", JSONB, nullable=False),
)


def _document_columns() -> list[sa.Column[object]]:
    """Columns that all tables of mirrored documents share: the version of the document."""
    return [
        sa.Column("identity", sa.Uuid, primary_key=True),
        sa.Column("machine_id", sa.ForeignKey("machines.id"), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _Time, nullable=False),
    ]


# Runs as described by their jobs; `described_at` is the time of the newest report with a description.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_key", sa.Text),
    sa.Column("cmssw_version", sa.Text),
    sa.Column("described_at", _Time),
    sa.Index(None, "run_key", "run"),
    sa.Index(None, "cmssw_version", "run"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    *_document_columns(),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("started_at", _Time, nullable=False),
    sa.Column("exit_code", sa.Integer),
    sa.Column("cmssw_run", sa.Integer),
    sa.Column("lumisection", sa.Integer),
    sa.Column("lumisection_at", _Time),
    sa.Column("lumisections_skipped", sa.Integer, nullable=False),
    sa.Column("events_total", sa.BigInteger),
    sa.Column("events_rate", sa.REAL),
    sa.Column("fi_state", sa.SmallInteger),
    sa.Column("rss_kb", sa.Integer),
    # Findings in the log (`storage/log_findings.py`), and the version of the rules that made them.
    sa.Column("log_rules", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("crash", JSONB(none_as_null=True)),
    sa.Column("log_errors", JSONB(none_as_null=True)),
    # Signature of its group of crashes, if it crashed. No foreign key: a group is never deleted.
    sa.Column("crash_group", sa.Text),
    sa.Index(None, "run", "client"),
    sa.Index(None, "client", "run"),
    sa.Index(None, "started_at", "run"),
    sa.Index(None, "log_rules", "run"),
    sa.Index(None, "crash_group", "run", postgresql_where=sa.text("crash_group IS NOT NULL")),
)

# Groups of crashes of a client with the same signature (`storage/crash_groups.py`). Rows never change.
crash_groups = sa.Table(
    "crash_groups",
    metadata,
    sa.Column("signature", sa.Text, primary_key=True),
    sa.Column("client", sa.Text, nullable=False, index=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
)

# Series and log of a job, packed (`storage/codecs.py`); a table of its own keeps lists of jobs narrow.
job_details = sa.Table(
    "job_details",
    metadata,
    sa.Column("identity", sa.ForeignKey("jobs.identity", ondelete="CASCADE"), primary_key=True),
    sa.Column("memory", sa.LargeBinary, nullable=False),
    sa.Column("events", sa.LargeBinary, nullable=False),
    sa.Column("input_statuses", sa.LargeBinary, nullable=False),
    sa.Column("log", sa.LargeBinary, nullable=False),
    sa.Column("log_redactions", sa.Integer, nullable=False),
)

# Dictionaries that logs are compressed with (`storage/log_compression.py`). Rows never change.
log_dictionaries = sa.Table(
    "log_dictionaries",
    metadata,
    sa.Column("version", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("trained_at", _Time, nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    *_document_columns(),
    sa.Column("run", sa.Integer, nullable=False, index=True),
    sa.Column("global_start", _Time),
    sa.Column("global_start_is_guess", sa.Boolean, nullable=False),
    sa.Column("lumisection_s", sa.Double, nullable=False),
    sa.Column("streams", sa.LargeBinary, nullable=False),
)

playbacks = sa.Table(
    "playbacks",
    metadata,
    *_document_columns(),
    sa.Column("run", sa.Integer, nullable=False, index=True),
    sa.Column("state", sa.Text),
    sa.Column("lumisection", sa.Integer),
    sa.Column("number_of_ls", sa.Integer),
    sa.Column("run_key", sa.Text),
    sa.Column("source_run", sa.Integer),
)

machine_memory = sa.Table(
    "machine_memory",
    metadata,
    *_document_columns(),
    sa.Column("total_bytes", sa.BigInteger),
    sa.Column("used_bytes", sa.BigInteger),
    sa.Column("free_bytes", sa.BigInteger),
    sa.Column("available_bytes", sa.BigInteger),
)

machine_disks = sa.Table(
    "machine_disks",
    metadata,
    *_document_columns(),
    sa.Column("total_bytes", sa.BigInteger),
    sa.Column("used_bytes", sa.BigInteger),
    sa.Column("free_bytes", sa.BigInteger),
    sa.Column("files", sa.BigInteger),
)

# Documents that could not be parsed or stored, without their content; `updated_at` is when that was found.
quarantined_documents = sa.Table(
    "quarantined_documents",
    metadata,
    *_document_columns(),
    sa.Column("document_type", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index(None, "machine_id", "epoch", "updated_at"),
)

# Reports of documents with a value that the allowlist left out, by field; `newest_at` is when that last
# happened.
dropped_fields = sa.Table(
    "dropped_fields",
    metadata,
    sa.Column("field", sa.Text, primary_key=True),
    sa.Column("documents", sa.BigInteger, nullable=False),
    sa.Column("newest_at", _Time, nullable=False),
)

# Clients known to be bad, which raise no alarm until `ends_at`; unmuting sets that to the present.
mutes = sa.Table(
    "mutes",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("muted_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("ends_at", _Time, nullable=False, index=True),
)

# Work list of an import from an earlier mirror: ranges of runs, the newest first. The batch without runs is
# the history of machine states. `skipped` counts the rows that were not imported, by reason and run.
import_batches = sa.Table(
    "import_batches",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("first_run", sa.Integer),
    sa.Column("last_run", sa.Integer),
    sa.Column("documents", sa.Integer, nullable=False),
    sa.Column("skipped", JSONB),
    sa.Column("completed_at", _Time),
)

# Tables of the Control Room, used in the playback cluster's database only. None contains a full host name.

# Login sessions. `id` is the hash of the browser's cookie. `credential_hash` is a keyed hash of the
# credential used, so that changing a password ends its sessions. `cmsweb_login` is set if CMSWEB
# authenticated the user.
login_sessions = sa.Table(
    "login_sessions",
    metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("cmsweb_login", sa.Text),
    sa.Column("credential_hash", sa.LargeBinary, nullable=False),
    sa.Column("created_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _Time, nullable=False),
)

# Recent failed login attempts, by keyed hashes of user and address.
login_attempts = sa.Table(
    "login_attempts",
    metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_failed_at", _Time, nullable=False),
)

# Logins, rejected requests and commands. The row of a command is inserted when the command is received,
# updated before it is sent to DQM², and completed with its outcome; `worker_id` is the server process that
# executes it. Rejected requests without a session are grouped: `group_key` identifies the group,
# `occurrences` counts its requests, and `address_hash` is a keyed hash of the client's address.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("received_at", _Time, nullable=False, index=True, server_default=sa.func.clock_timestamp()),
    sa.Column("username", sa.Text),
    sa.Column("cmsweb_login", sa.Text),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("is_change", sa.Boolean, nullable=False),
    sa.Column("cluster", sa.Text),
    sa.Column("machine", sa.Text),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("idempotency_key", sa.Uuid, unique=True),
    sa.Column("worker_id", sa.Integer),
    sa.Column("sent_at", _Time),
    sa.Column("ended_at", _Time),
    sa.Column("outcome", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("address_hash", sa.LargeBinary),
    sa.Column("group_key", sa.LargeBinary, unique=True),
    sa.Column("occurrences", sa.Integer, nullable=False, server_default="1"),
    sa.Index("audit_log_open_idx", "id", postgresql_where=sa.text("outcome IS NULL")),
    sa.Index("audit_log_anonymous_idx", "id", postgresql_where=sa.text("group_key IS NOT NULL")),
)

# The tables of mirrored documents.
DOCUMENT_TABLES = (jobs, deliveries, playbacks, machine_memory, machine_disks, quarantined_documents)


class SchemaState(Enum):
    """Relation of a database's schema to the one that this program needs."""

    READY = "ready"
    TOO_OLD = "too old"
    TOO_NEW = "too new"
    LEGACY = "an earlier mirror's"
    FOREIGN = "another program's"


@dataclass(frozen=True)
class Schema:
    """A database's schema revision, `None` before the first migration, and whether this program can use it.

    `foreign_tables`: tables of another program that have names of the mirror's.
    """

    revision: str | None
    state: SchemaState
    foreign_tables: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.state is SchemaState.LEGACY:
            return "the tables of an earlier mirror, which `db adopt` imports"
        if self.state is SchemaState.FOREIGN:
            return f"tables of another program under the mirror's names: {', '.join(self.foreign_tables)}"
        return f"schema {self.revision or 'none'}, {self.state.value} for this program ({head_revision()})"


class SecretChanged(Exception):
    """The database was created with another PSEUDONYM_SECRET; continuing would store everything twice."""


def engine(
    settings: dqmsquare_cfg.Settings,
    cluster: Cluster,
    role: str,
    *,
    pool_size: int = 2,
    isolation_level: IsolationLevel | None = None,
) -> sa.Engine:
    """Connections to a cluster's database, at most `pool_size`; `role` is part of their application name.

    A process needs one engine per cluster: `execution_options` returns variants of it with the same pool,
    e.g. with `isolation_level="AUTOCOMMIT"`, which saves the round trips of BEGIN and COMMIT. The engine's
    own level is set once per connection, that of a variant each time that one is taken from the pool.
    """
    return sa.create_engine(
        sa.URL.create(
            "postgresql+psycopg2",
            username=settings.postgres_username,
            password=settings.postgres_password or None,
            host=settings.postgres_host,
            port=settings.postgres_port,
            database=settings.database(cluster),
        ),
        isolation_level=isolation_level,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "sslmode": settings.postgres_sslmode,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": f"dqmsquare-mirror {role} {cluster}",
            "options": " ".join(f"-c {name}={value}" for name, value in _SESSION_SETTINGS.items()),
            # A server whose machine is gone is noticed within half a minute.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )


def head_revision() -> str:
    """The latest schema revision that this program knows."""
    return _revisions()[-1]


def schema(connection: sa.Connection) -> Schema:
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
        sa.select(mirror_metadata.c.value).where(mirror_metadata.c.name == "readable_from")
    )
    return Schema(revision, SchemaState.READY if readable_from in known else SchemaState.TOO_NEW)


def migrate(database: sa.Engine) -> Schema:
    """Migrate a database to the latest schema; concurrent calls wait for the one that migrates.

    A schema that is newer than this program is left alone, and so are the tables of an earlier mirror and of
    other programs.
    """
    with migration_lock(database) as connection:
        before = schema(connection)
        connection.commit()
        if before.state is not SchemaState.TOO_OLD:
            return before
        upgrade(connection)
        connection.commit()
        after = schema(connection)
        connection.commit()
    log.info("schema_migrated from=%s to=%s", before.revision, after.revision)
    return after


@contextmanager
def migration_lock(database: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that holds the migration lock and allows long statements."""
    with database.connect() as connection:
        connection.execute(sa.text("SET statement_timeout = :ms").bindparams(ms=_MIGRATION_TIMEOUT_MS))
        connection.execute(sa.select(sa.func.pg_advisory_lock(MIGRATION_LOCK)))
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
    table = mirror_metadata
    values = {"name": "secret_check", "value": str(check_value)}
    connection.execute(insert(table).values(values).on_conflict_do_nothing())
    stored = connection.scalar(sa.select(table.c.value).where(table.c.name == "secret_check"))
    if stored != str(check_value):
        raise SecretChanged


def _unmigrated_schema(connection: sa.Connection) -> Schema:
    inspector = sa.inspect(connection)
    if _is_legacy(inspector):
        return Schema(None, SchemaState.LEGACY)
    found = {*inspector.get_table_names(), *inspector.get_view_names()}
    foreign = tuple(sorted(metadata.tables.keys() & found))
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


def main(arguments: list[str] | None = None) -> int:
    """Run a command of `python db.py` on both databases; the exit status is 1 if it failed for one."""
    # `db_commands` imports this module's tables, so it can't be imported at the top.
    import db_commands  # noqa: PLC0415

    return db_commands.main(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
