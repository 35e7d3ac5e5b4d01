"""Create all tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_TIME = sa.TIMESTAMP(timezone=True)
# These columns are compressed already.
_UNCOMPRESSED_STORAGE = (
    "ALTER TABLE job_details ALTER COLUMN memory SET STORAGE EXTERNAL",
    "ALTER TABLE job_details ALTER COLUMN events SET STORAGE EXTERNAL",
    "ALTER TABLE job_details ALTER COLUMN input_statuses SET STORAGE EXTERNAL",
    "ALTER TABLE job_details ALTER COLUMN log SET STORAGE EXTERNAL",
    "ALTER TABLE deliveries ALTER COLUMN streams SET STORAGE EXTERNAL",
)
# Each report of a running job updates its row, so dead rows accumulate at the rate of a cluster's reports,
# whatever the size of the table: autovacuum goes by their number, not by their share.
_AUTOVACUUM = (
    "ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)",
    "ALTER TABLE job_details SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)",
    "ALTER TABLE job_details SET (toast.autovacuum_vacuum_scale_factor = 0)",
    "ALTER TABLE job_details SET (toast.autovacuum_vacuum_threshold = 20000)",
)


def upgrade() -> None:
    """Create the tables and allow programs of this revision to read them."""
    _create_properties()
    _create_documents()
    _create_control_room()
    for statement in (*_UNCOMPRESSED_STORAGE, *_AUTOVACUUM):
        op.execute(statement)
    op.execute("INSERT INTO mirror_metadata (name, value) VALUES ('readable_from', '0001')")


def _create_properties() -> None:
    """Create the tables about the database itself, and about an import from an earlier mirror."""
    op.create_table(
        "import_batches",
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("first_run", sa.Integer),
        sa.Column("last_run", sa.Integer),
        sa.Column("documents", sa.Integer, nullable=False),
        sa.Column("skipped", JSONB()),
        sa.Column("completed_at", _TIME),
        sa.PrimaryKeyConstraint("number", name="import_batches_pkey"),
    )
    op.create_table(
        "log_dictionaries",
        sa.Column("version", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("trained_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("version", name="log_dictionaries_pkey"),
    )
    op.create_table(
        "mirror_metadata",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="mirror_metadata_pkey"),
    )


def _create_documents() -> None:
    """Create the tables of machines, runs and mirrored documents."""
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("leader_id", sa.Uuid, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("heartbeat_at", _TIME, nullable=False),
        sa.Column("links", JSONB(), nullable=False),
        sa.CheckConstraint("id = 1"),
        sa.PrimaryKeyConstraint("id", name="heartbeat_pkey"),
    )
    op.create_table(
        "machines",
        sa.Column("id", sa.SmallInteger, sa.Identity(always=True), nullable=False),
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, server_default="0", nullable=False),
        sa.Column("revision", sa.BigInteger),
        sa.Column("last_document", sa.Uuid),
        sa.Column("last_document_at", _TIME),
        sa.Column("clock_at", _TIME),
        sa.Column("newest_run", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="machines_pkey"),
        sa.UniqueConstraint("identity", name="machines_identity_key"),
        sa.UniqueConstraint("label", name="machines_label_key"),
    )
    op.create_table(
        "mutes",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("muted_at", _TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("ends_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="mutes_pkey"),
    )
    op.create_index("mutes_ends_at_idx", "mutes", ["ends_at"])
    op.create_table(
        "runs",
        sa.Column("run", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("run_key", sa.Text),
        sa.Column("cmssw_version", sa.Text),
        sa.Column("described_at", _TIME),
        sa.PrimaryKeyConstraint("run", name="runs_pkey"),
    )
    op.create_index("runs_run_key_run_idx", "runs", ["run_key", "run"])
    op.create_table(
        "deliveries",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("machine_id", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("global_start", _TIME),
        sa.Column("global_start_is_guess", sa.Boolean, nullable=False),
        sa.Column("lumisection_s", sa.Double, nullable=False),
        sa.Column("streams", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="deliveries_machine_id_fkey"),
        sa.PrimaryKeyConstraint("identity", name="deliveries_pkey"),
    )
    op.create_index("deliveries_run_idx", "deliveries", ["run"])
    op.create_table(
        "jobs",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("machine_id", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("cmssw_run", sa.Integer),
        sa.Column("lumisection", sa.Integer),
        sa.Column("lumisection_at", _TIME),
        sa.Column("lumisections_skipped", sa.Integer, nullable=False),
        sa.Column("events_total", sa.BigInteger),
        sa.Column("events_rate", sa.REAL),
        sa.Column("fi_state", sa.SmallInteger),
        sa.Column("rss_kb", sa.Integer),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="jobs_machine_id_fkey"),
        sa.PrimaryKeyConstraint("identity", name="jobs_pkey"),
    )
    op.create_index("jobs_run_client_idx", "jobs", ["run", "client"])
    op.create_table(
        "machine_disks",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("machine_id", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("total_bytes", sa.BigInteger),
        sa.Column("used_bytes", sa.BigInteger),
        sa.Column("free_bytes", sa.BigInteger),
        sa.Column("files", sa.BigInteger),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="machine_disks_machine_id_fkey"),
        sa.PrimaryKeyConstraint("identity", name="machine_disks_pkey"),
    )
    op.create_table(
        "machine_memory",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("machine_id", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("total_bytes", sa.BigInteger),
        sa.Column("used_bytes", sa.BigInteger),
        sa.Column("free_bytes", sa.BigInteger),
        sa.Column("available_bytes", sa.BigInteger),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="machine_memory_machine_id_fkey"),
        sa.PrimaryKeyConstraint("identity", name="machine_memory_pkey"),
    )
    op.create_table(
        "machine_states",
        sa.Column("machine_id", sa.SmallInteger, nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("is_up", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="machine_states_machine_id_fkey"),
        sa.PrimaryKeyConstraint("machine_id", "since", name="machine_states_pkey"),
    )
    op.create_table(
        "playbacks",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("machine_id", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("state", sa.Text),
        sa.Column("lumisection", sa.Integer),
        sa.Column("number_of_ls", sa.Integer),
        sa.Column("run_key", sa.Text),
        sa.Column("source_run", sa.Integer),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="playbacks_machine_id_fkey"),
        sa.PrimaryKeyConstraint("identity", name="playbacks_pkey"),
    )
    op.create_index("playbacks_run_idx", "playbacks", ["run"])
    op.create_table(
        "quarantined_documents",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("machine_id", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("document_type", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["machines.id"], name="quarantined_documents_machine_id_fkey"
        ),
        sa.PrimaryKeyConstraint("identity", name="quarantined_documents_pkey"),
    )
    op.create_index(
        "quarantined_documents_machine_id_epoch_updated_at_idx",
        "quarantined_documents",
        ["machine_id", "epoch", "updated_at"],
    )
    op.create_table(
        "job_details",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("memory", sa.LargeBinary, nullable=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
        sa.Column("input_statuses", sa.LargeBinary, nullable=False),
        sa.Column("log", sa.LargeBinary, nullable=False),
        sa.Column("log_redactions", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["identity"], ["jobs.identity"], name="job_details_identity_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("identity", name="job_details_pkey"),
    )


def _create_control_room() -> None:
    """Create the tables of the Control Room."""
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("received_at", _TIME, server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("username", sa.Text),
        sa.Column("cmsweb_login", sa.Text),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("is_change", sa.Boolean, nullable=False),
        sa.Column("cluster", sa.Text),
        sa.Column("machine", sa.Text),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.Uuid),
        sa.Column("worker_id", sa.Integer),
        sa.Column("sent_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("outcome", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("address_hash", sa.LargeBinary),
        sa.Column("group_key", sa.LargeBinary),
        sa.Column("occurrences", sa.Integer, server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_log_pkey"),
        sa.UniqueConstraint("group_key", name="audit_log_group_key_key"),
        sa.UniqueConstraint("idempotency_key", name="audit_log_idempotency_key_key"),
    )
    op.create_index(
        "audit_log_anonymous_idx", "audit_log", ["id"], postgresql_where=sa.text("group_key IS NOT NULL")
    )
    op.create_index("audit_log_open_idx", "audit_log", ["id"], postgresql_where=sa.text("outcome IS NULL"))
    op.create_index("audit_log_received_at_idx", "audit_log", ["received_at"])
    op.create_table(
        "login_attempts",
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_failed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="login_attempts_pkey"),
    )
    op.create_table(
        "login_sessions",
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("cmsweb_login", sa.Text),
        sa.Column("credential_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="login_sessions_pkey"),
    )
