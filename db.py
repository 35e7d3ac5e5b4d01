"""The database: its tables, how it is reached, and how its schema is kept up to date.

There are two databases of one schema, one a cluster. What is asked of them stands beside: what a grabber
writes in `mirror/grabbing/`, what pages read in `mirror/reading/`. Migrations only add within a release, so
that old and new programs run side by side; `installation.readable_from` names the oldest schema revision
whose programs may still use the database.

    python db.py migrate     brings both databases up to date
    python db.py status      says at which revision they are
    python db.py prune       takes away logs and series that are older than JOB_LOG_RETENTION_DAYS
    python db.py adopt       takes over what an earlier mirror left in them (`adoption/`)
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

import dqmsquare_cfg
from dqmsquare_cfg import Cluster

log = logging.getLogger(__name__)

# Advisory locks of a cluster's database: who migrates it, who mirrors into it, who mutes a client; in the
# playback cluster's also whose control command is under way, who takes a place in the line for one, who
# counts a try to sign in.
MIGRATION_LOCK = 0x64716D01
GRABBER_LOCK = 0x64716D02
COMMAND_LOCK = 0x64716D03
QUEUE_LOCK = 0x64716D04
LOGIN_LOCK = 0x64716D05
MUTE_LOCK = 0x64716D07
# The first of two keys of an advisory lock; the second is a server process that takes control commands.
WORKER_LOCKS = 0x64716D06

# The channel on which a committed change is told: what a batch changed (`storage/notifications.py`), or a
# word where anything may have changed.
CHANNEL = "mirrored"

_CONNECT_TIMEOUT_S = 2
_STATEMENT_TIMEOUT_MS = 30_000
_MIGRATION_TIMEOUT_MS = 600_000
# How PostgreSQL is to treat a connection. It notices within 8 s that the machine at the other end is gone
# without a word, and frees its locks: another grabber takes over then, and not after hours.
_SESSION = {
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

# What the database knows of itself: the check value of PSEUDONYM_SECRET, the revision it is readable from.
mirror_metadata = sa.Table(
    "installation",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# A machine by its keyed hash and its label, and how far it is mirrored: all its documents up to
# (epoch, revision), the last of which is `head`, in its version of `head_at`. `clock_at` is its own clock:
# its newest document's time.
machines = sa.Table(
    "machines",
    metadata,
    sa.Column("id", sa.SmallInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("identity", sa.Uuid, nullable=False, unique=True),
    sa.Column("label", sa.Text, nullable=False, unique=True),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("revision", sa.BigInteger),
    sa.Column("head", sa.Uuid),
    sa.Column("head_at", _Time),
    sa.Column("clock_at", _Time),
    sa.Column("newest_run", sa.Integer),
)

# When a machine went up or down, as the gateway sees it: a row a change, not a row a poll.
machine_states = sa.Table(
    "machine_states",
    metadata,
    sa.Column("machine_id", sa.ForeignKey("machines.id"), primary_key=True),
    sa.Column("since", _Time, primary_key=True),
    sa.Column("is_up", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),
)

# One row: the grabber that holds the cluster, that it lives, and what it knows of each link.
heartbeat = sa.Table(
    "heartbeat",
    metadata,
    sa.Column("id", sa.SmallInteger, sa.CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    sa.Column("holder", sa.Uuid, nullable=False),
    sa.Column("started_at", _Time, nullable=False),
    sa.Column("beat_at", _Time, nullable=False),
    sa.Column("links", JSONB, nullable=False),
)


def _document_columns() -> list[sa.Column[object]]:
    """What every table of mirrored documents begins with: the document's origin."""
    return [
        sa.Column("identity", sa.Uuid, primary_key=True),
        sa.Column("machine_id", sa.ForeignKey("machines.id"), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _Time, nullable=False),
    ]


# What the jobs of a run say of it; `described_at` is the newest of their reports.
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_key", sa.Text),
    sa.Column("cmssw_version", sa.Text),
    sa.Column("described_at", _Time),
    sa.Index(None, "run_key", "run"),
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
    sa.Index(None, "run", "client"),
)

# What is shown of a job when it is opened, packed (`storage/codecs.py`), apart so that lists stay narrow.
job_details = sa.Table(
    "job_details",
    metadata,
    sa.Column("identity", sa.ForeignKey("jobs.identity", ondelete="CASCADE"), primary_key=True),
    sa.Column("memory", sa.LargeBinary, nullable=False),
    sa.Column("events", sa.LargeBinary, nullable=False),
    sa.Column("fates", sa.LargeBinary, nullable=False),
    sa.Column("log", sa.LargeBinary, nullable=False),
    sa.Column("log_replaced", sa.Integer, nullable=False),
)

# What logs are compressed by (`storage/log_compression.py`); a row is never changed.
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

# Documents that could not be understood, without anything of their content; `updated_at` is when that was.
quarantined_documents = sa.Table(
    "set_aside",
    metadata,
    *_document_columns(),
    sa.Column("document_type", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index(None, "machine_id", "epoch", "updated_at"),
)

# Clients that are known to be bad and raise no alarm until `ends_at`, which an expert may bring forward.
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

# What an earlier mirror left here and whether it was taken over: runs, in batches, the newest first. The one
# of no runs is the ups and downs of machines; `left_out` counts by reason what could not be taken.
import_batches = sa.Table(
    "adoption_batches",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("first_run", sa.Integer),
    sa.Column("last_run", sa.Integer),
    sa.Column("documents", sa.Integer, nullable=False),
    sa.Column("left_out", JSONB),
    sa.Column("done_at", _Time),
)

# What the Control Room keeps, in the playback cluster's database alone. None of it names a machine in full.

# Who is signed in. The browser holds what `id` is a hash of; `credential` is a keyed hash of what was known
# to sign in by, so that a changed password ends it; `login` is CMSWEB's, where that vouches for one.
login_sessions = sa.Table(
    "control_sessions",
    metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("login", sa.Text),
    sa.Column("credential", sa.LargeBinary, nullable=False),
    sa.Column("began_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("ends_at", _Time, nullable=False),
)

# Tries to sign in that failed of late, by a keyed hash of who and where from.
login_attempts = sa.Table(
    "sign_in_tries",
    metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failed_at", _Time, nullable=False),
)

# Every sign-in, refusal and command. A row is written when it is received, marked before it is sent to DQM²,
# and completed by its outcome; `desk` is the server process that has it meanwhile. What somebody without a
# session is refused has a keyed hash of the address, and how many times that row stands for.
audit_log = sa.Table(
    "control_audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("received_at", _Time, nullable=False, index=True, server_default=sa.func.clock_timestamp()),
    sa.Column("person", sa.Text),
    sa.Column("login", sa.Text),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("is_change", sa.Boolean, nullable=False),
    sa.Column("cluster", sa.Text),
    sa.Column("machine", sa.Text),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("once", sa.Uuid, unique=True),
    sa.Column("desk", sa.Integer),
    sa.Column("sent_at", _Time),
    sa.Column("ended_at", _Time),
    sa.Column("outcome", sa.Text),
    sa.Column("sentence", sa.Text),
    sa.Column("address", sa.LargeBinary),
    sa.Column("told_together", sa.LargeBinary, unique=True),
    sa.Column("times", sa.Integer, nullable=False, server_default="1"),
    sa.Index("control_audit_open_idx", "id", postgresql_where=sa.text("outcome IS NULL")),
    sa.Index("control_audit_strangers_idx", "id", postgresql_where=sa.text("told_together IS NOT NULL")),
)

# The tables whose rows are mirrored documents.
DOCUMENT_TABLES = (jobs, deliveries, playbacks, machine_memory, machine_disks, quarantined_documents)


class SchemaState(Enum):
    """How a database's schema stands to this program's."""

    READY = "ready"
    TOO_OLD = "too old"
    TOO_NEW = "too new"
    LEGACY = "an earlier mirror's"
    FOREIGN = "another program's"


@dataclass(frozen=True)
class Schema:
    """A database's schema revision (`None`: none yet) and what it means to this program.

    `others`: the tables of another program that stand where the mirror's would.
    """

    revision: str | None
    state: SchemaState
    foreign_tables: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.state is SchemaState.LEGACY:
            return "the tables of an earlier mirror, which `db adopt` takes over"
        if self.state is SchemaState.FOREIGN:
            return f"tables of another program under the mirror's names: {', '.join(self.foreign_tables)}"
        return f"schema {self.revision or 'none'}, {self.state.value} for this program ({head_revision()})"


def engine(
    settings: dqmsquare_cfg.Settings,
    cluster: Cluster,
    role: str,
    *,
    pool_size: int = 2,
    is_autocommit: bool = False,
) -> sa.Engine:
    """Connections to a cluster's database; `role` is what they are called there.

    `is_autocommit`: each statement stands for itself, without the words to and fro of a transaction.
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
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT" if is_autocommit else None,
        connect_args={
            "sslmode": settings.postgres_sslmode,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": f"dqmsquare-mirror {role} {cluster}",
            "options": " ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
            # A host that is gone without a word is noticed within half a minute.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )


def head_revision() -> str:
    """The schema revision that this program was made for."""
    return _revisions()[-1]


def schema(connection: sa.Connection) -> Schema:
    """How the schema of a database stands to this program."""
    revision = _revision(connection)
    if revision == head_revision():
        return Schema(revision, SchemaState.READY)
    if revision is None:
        return _before_any_migration(connection)
    known = _revisions()
    if revision in known:
        return Schema(revision, SchemaState.TOO_OLD)
    readable_from = connection.scalar(
        sa.select(mirror_metadata.c.value).where(mirror_metadata.c.name == "readable_from")
    )
    return Schema(revision, SchemaState.READY if readable_from in known else SchemaState.TOO_NEW)


def migrate(database: sa.Engine) -> Schema:
    """Brings a database's schema up to date; of several programs that try at once one does, the others wait.

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
    log.info("migrated from=%s to=%s", before.revision, after.revision)
    return after


@contextmanager
def migration_lock(database: sa.Engine) -> Iterator[sa.Connection]:
    """A connection on which tables may be made and changed for long; whoever else wants to waits."""
    with database.connect() as connection:
        connection.execute(sa.text("SET statement_timeout = :ms").bindparams(ms=_MIGRATION_TIMEOUT_MS))
        connection.execute(sa.select(sa.func.pg_advisory_lock(MIGRATION_LOCK)))
        connection.commit()
        try:
            yield connection
        finally:
            # The lock is the connection's own: dropping that gives it back whatever state it is in.
            connection.invalidate()


def upgrade(connection: sa.Connection) -> None:
    """Runs the migrations that are missing; within the connection's transaction, if it is in one."""
    # Only who migrates has Alembic and all that it knows of other databases in memory, 8 MB of it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _before_any_migration(connection: sa.Connection) -> Schema:
    if _is_of_an_earlier_mirror(connection):
        return Schema(None, SchemaState.LEGACY)
    found = sa.inspect(connection)
    others = sorted(metadata.tables.keys() & {*found.get_table_names(), *found.get_view_names()})
    return Schema(None, SchemaState.FOREIGN if others else SchemaState.TOO_OLD, tuple(others))


def _is_of_an_earlier_mirror(connection: sa.Connection) -> bool:
    """Whether there is a table of runs that keeps logs in it."""
    found = sa.inspect(connection)
    return found.has_table("runs") and "stdlog_start" in {it["name"] for it in found.get_columns("runs")}


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


@cache
def _revisions() -> tuple[str, ...]:
    """The schema revisions that this program knows, the oldest first, by the names of their files."""
    scripts = (MIGRATIONS / "versions").glob("*.py")
    revisions = tuple(sorted(script.name.partition("_")[0] for script in scripts))
    if not revisions:
        raise RuntimeError(f"no migrations in {MIGRATIONS}")
    return revisions


def main(arguments: list[str] | None = None) -> int:
    """`python db.py …`: what is asked for is done to both databases; exit status 1 where it could not be."""
    # They know the tables, so that they can't be known where those are made.
    import db_commands  # noqa: PLC0415

    return db_commands.main(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
