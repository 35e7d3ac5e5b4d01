"""PostgreSQL access: tables and engines.

Each cluster has a database of its own, and both have the same schema, which `storage/schema.py` migrates.
Queries are in `storage/` and `legacy_import/`.

    python db.py migrate     migrate both databases to the latest schema
    python db.py status      print their schema revisions
    python db.py prune       delete logs and series older than JOB_LOG_RETENTION_DAYS
    python db.py adopt       import the data of an earlier mirror (`legacy_import/`)
"""

import sys
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from psycopg2 import extensions
from sqlalchemy.dialects.postgresql import ARRAY, BIT, JSONB
from sqlalchemy.engine.interfaces import IsolationLevel

import dqmsquare_cfg
from dqmsquare_cfg import Cluster

# Keys of advisory locks in a cluster's database.
MIGRATION_LOCK = 0x64716D01
GRABBER_LOCK = 0x64716D02
MUTE_LOCK = 0x64716D07
NOTIFIER_LOCK = 0x64716D08
# Taken by triggers at the end of a transaction, for the rest of it.
TRIGGER_LOCK = 0x64716D09
# Used in the playback cluster's database only: sending a control command, joining the queue of commands,
# counting a login attempt.
COMMAND_LOCK = 0x64716D03
QUEUE_LOCK = 0x64716D04
LOGIN_LOCK = 0x64716D05
# First of two keys; the second is the id of a server process that executes control commands.
WORKER_LOCKS = 0x64716D06

# Width of `client_runs.runs`.
RUNS_PER_BLOCK = 1024

# Channel of `NOTIFY`. The payload is a change (`storage/notifications.py`), or a word if anything may have
# changed.
CHANNEL = "mirror_changes"

_CONNECT_TIMEOUT_S = 2
_STATEMENT_TIMEOUT_S = 30.0
# PostgreSQL's settings for each connection. With these keepalives it notices within 8 s that the client's
# machine is gone and releases its locks, so that another grabber takes over in seconds rather than hours.
_SESSION_SETTINGS = {
    "timezone": "UTC",
    "tcp_keepalives_idle": 4,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 2,
    "tcp_user_timeout": 8000,
}

# OID of PostgreSQL's `timestamptz`.
_TIMESTAMPTZ = 1184

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
    # Signature of its group of crashes, if it crashed. A foreign key would be checked for each job written.
    sa.Column("crash_group", sa.Text),
    sa.Index(None, "run", "client"),
    sa.Index(None, "client", "run"),
    sa.Index(None, "started_at", "run"),
    sa.Index(None, "log_rules", "run"),
    sa.Index(None, "crash_group", "run", postgresql_where=sa.text("crash_group IS NOT NULL")),
)

# Groups of crashes of a client with the same signature (`storage/crash_groups.py`). Only their titles change.
crash_groups = sa.Table(
    "crash_groups",
    metadata,
    sa.Column("signature", sa.Text, primary_key=True),
    sa.Column("client", sa.Text, nullable=False, index=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
)

# Number of jobs of each group of crashes by run, with the run key and release of the run. Triggers on `jobs`
# and `runs` keep it (`migrations/versions/0012_runs_of_crash_groups.py`); no program writes to it.
crash_group_runs = sa.Table(
    "crash_group_runs",
    metadata,
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("crash_group", sa.Text, primary_key=True),
    sa.Column("jobs", sa.Integer, nullable=False),
    sa.Column("run_key", sa.Text),
    sa.Column("cmssw_version", sa.Text),
    # Pages need no more than the index.
    sa.Index(None, "crash_group", "run", postgresql_include=["jobs", "run_key", "cmssw_version"]),
)

# Runs in which a client (tag) has a job: the bit n of block b is that of run 1024 b + n. Triggers on `jobs`
# keep it (`migrations/versions/0013_runs_of_clients.py`); no program writes to it.
client_runs = sa.Table(
    "client_runs",
    metadata,
    sa.Column("client", sa.Text, primary_key=True),
    sa.Column("block", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("runs", BIT(RUNS_PER_BLOCK), nullable=False),
)


# The releases (CMSSW versions) of all runs. Triggers on `runs` keep it
# (`migrations/versions/0014_releases.py`); no program writes to it.
releases = sa.Table("releases", metadata, sa.Column("cmssw_version", sa.Text, primary_key=True))


@sa.event.listens_for(metadata, "after_drop")
def _drop_functions(_metadata: sa.MetaData, connection: sa.Connection, **_options: object) -> None:
    """Drop the functions of these triggers, which outlast their tables."""
    functions = "count_crash, describe_crashes, mark_client_run, mark_client_block, list_release"
    connection.execute(sa.text(f"DROP FUNCTION IF EXISTS {functions}"))


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

# Lines of logs without what varies (`dqm2/log_templates.py`), by a hash. Rows never change.
log_templates = sa.Table(
    "log_templates",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("words", ARRAY(sa.Text), nullable=False),
    sa.Index("log_templates_words_idx", sa.text("array_to_tsvector(words)"), postgresql_using="gin"),
)

# The templates in the log of a job that has ended; deleted with the log. A table of its own with short rows,
# which are in the order of runs. A short list of pending entries keeps searches fast while jobs are written.
log_index = sa.Table(
    "log_index",
    metadata,
    sa.Column("identity", sa.ForeignKey("job_details.identity", ondelete="CASCADE"), primary_key=True),
    sa.Column("run", sa.Integer, nullable=False, index=True),
    sa.Column("templates", ARRAY(sa.Integer), nullable=False),
    sa.Index(None, "templates", postgresql_using="gin", postgresql_with={"gin_pending_list_limit": 256}),
)

# Dictionaries that logs are compressed with (`storage/log_dictionaries.py`). Rows never change.
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
    # Statistics (`storage/delivery_statistics.py`) of the streams in `statistics_revision`. An older program
    # that updates the streams does not update this revision.
    sa.Column("delay_mean_s", sa.Double),
    sa.Column("delay_deviation_s", sa.Double),
    sa.Column("last_lumisection", sa.Integer),
    sa.Column("events_accepted", sa.BigInteger),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("statistics_revision", sa.BigInteger),
    sa.Index(
        "deliveries_outdated_idx",
        "run",
        postgresql_where=sa.text("statistics_revision IS DISTINCT FROM revision"),
    ),
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
    sa.Index(None, "source_run", "run"),
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

# Clients known to be bad, which raise no alert until `ends_at`; unmuting sets that to the present. With
# `crash_group`, only crashes of the client in this group raise none.
mutes = sa.Table(
    "mutes",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("crash_group", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("muted_at", _Time, nullable=False, server_default=sa.func.now()),
    sa.Column("ends_at", _Time, nullable=False, index=True),
)

# Transitions of clients, machines and the data path (`storage/transitions.py`), in the order of their
# commits. A row is written in the transaction that makes its cause visible, and never changes. `is_initial`:
# it is the state in which the mirror first saw the thing. `detail` is redacted.
transitions = sa.Table(
    "transitions",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("noted_at", _Time, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("occurred_at", _Time, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("previous_state", sa.Text),
    sa.Column("is_problem", sa.Boolean, nullable=False),
    sa.Column("is_initial", sa.Boolean, nullable=False),
    sa.Column("run", sa.Integer),
    sa.Column("job", sa.Uuid),
    sa.Column("machine", sa.Text),
    sa.Column("crash_group", sa.Text),
    sa.Column("is_new_group", sa.Boolean),
    sa.Column("detail", sa.Text),
    sa.Index(None, "job", postgresql_where=sa.text("job IS NOT NULL")),
    sa.Index(None, "kind", "occurred_at"),
)

# The present condition of each thing that has transitions: the state after its latest one.
conditions = sa.Table(
    "conditions",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("is_problem", sa.Boolean, nullable=False),
    sa.Column("since", _Time, nullable=False),
)

# Receivers of notifications by their name in NOTIFY_URLS, without the URL, which is a secret. Transitions up
# to `cursor` are taken into `things`, the state of each thing for this receiver.
notification_receivers = sa.Table(
    "notification_receivers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("scheme", sa.Text, nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("things", JSONB, nullable=False, server_default="{}"),
    sa.Column("sent", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("dropped", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("dropped_at", _Time),
    sa.Column("last_success_at", _Time),
    sa.Column("failing_since", _Time),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reason", sa.Text),
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


def _parse_time(text: Any, cursor: extensions.cursor) -> datetime | None:
    """A time as PostgreSQL writes it, e.g. `2022-09-15 11:05:12.5+00`; psycopg2 takes twice as long."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # Such as `infinity`.
        parsed: datetime = extensions.PYDATETIMETZ(text, cursor)
        return parsed


extensions.register_type(extensions.new_type((_TIMESTAMPTZ,), "TIMESTAMPTZ", _parse_time))


def engine(
    settings: dqmsquare_cfg.Settings,
    cluster: Cluster,
    role: str,
    *,
    pool_size: int = 2,
    isolation_level: IsolationLevel | None = None,
    statement_timeout_s: float = _STATEMENT_TIMEOUT_S,
) -> sa.Engine:
    """Connections to a cluster's database, at most `pool_size`; `role` is part of their application name.

    PostgreSQL cancels a statement that takes longer than `statement_timeout_s`.

    A process needs one engine per cluster: `execution_options` returns variants of it with the same pool,
    e.g. with `isolation_level="AUTOCOMMIT"`, which saves the round trips of BEGIN and COMMIT. The engine's
    own level is set once per connection, that of a variant each time that one is taken from the pool.
    """
    session_settings = {**_SESSION_SETTINGS, "statement_timeout": round(statement_timeout_s * 1000)}
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
        # No column has this type; it would be looked for in each new connection.
        use_native_hstore=False,
        connect_args={
            "sslmode": settings.postgres_sslmode,
            # The default, of the database or of the user, may lack characters that logs contain.
            "client_encoding": "utf8",
            # Connections authenticate by password; libpq would use 1 MB for Kerberos, looking for a ticket.
            "gssencmode": "disable",
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": f"dqmsquare-mirror {role} {cluster}",
            "options": " ".join(f"-c {name}={value}" for name, value in session_settings.items()),
            # A server whose machine is gone is noticed within half a minute.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )


def error_message(error: BaseException | None) -> str:
    """First line of the driver's message about an error; libpq has none if it gets no file descriptor."""
    return str(error).strip().partition("\n")[0] or "no reason is given, as when too many files are open"


def main(arguments: list[str] | None = None) -> int:
    """Run a command of `python db.py` on both databases; the exit status is 1 if it failed for one."""
    # `db_commands` imports this module's tables, so it can't be imported at the top.
    import db_commands  # noqa: PLC0415

    return db_commands.main(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
