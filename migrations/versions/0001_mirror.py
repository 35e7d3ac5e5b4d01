"""The mirror: machines, runs, jobs, file delivery, simulators, resources, and what was set aside."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Makes every table; programs of this revision on may read them."""
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("holder", sa.Uuid, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("beat_at", _TIME, nullable=False),
        sa.Column("links", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="heartbeat_pkey"),
        sa.CheckConstraint("id = 1"),
    )
    op.create_table(
        "installation",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="installation_pkey"),
    )
    op.create_table(
        "machines",
        sa.Column("id", sa.SmallInteger, sa.Identity(always=True), nullable=False),
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, server_default="0", nullable=False),
        sa.Column("revision", sa.BigInteger),
        sa.Column("head", sa.Uuid),
        sa.Column("clock_at", _TIME),
        sa.Column("newest_run", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="machines_pkey"),
        sa.UniqueConstraint("identity", name="machines_identity_key"),
        sa.UniqueConstraint("label", name="machines_label_key"),
    )
    op.create_table(
        "runs",
        sa.Column("run", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("run_key", sa.Text),
        sa.Column("cmssw_version", sa.Text),
        sa.Column("described_at", _TIME),
        sa.PrimaryKeyConstraint("run", name="runs_pkey"),
    )
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
    op.create_index("deliveries_run_idx", "deliveries", ["run"], unique=False)
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
    op.create_index("jobs_run_client_idx", "jobs", ["run", "client"], unique=False)
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
    op.create_index("playbacks_run_idx", "playbacks", ["run"], unique=False)
    op.create_table(
        "set_aside",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("machine_id", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("document_type", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["machine_id"], ["machines.id"], name="set_aside_machine_id_fkey"),
        sa.PrimaryKeyConstraint("identity", name="set_aside_pkey"),
    )
    op.create_table(
        "job_details",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("memory", sa.LargeBinary, nullable=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
        sa.Column("fates", sa.LargeBinary, nullable=False),
        sa.Column("log", sa.LargeBinary, nullable=False),
        sa.Column("log_replaced", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["identity"], ["jobs.identity"], name="job_details_identity_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("identity", name="job_details_pkey"),
    )
    op.execute("INSERT INTO installation (name, value) VALUES ('readable_from', '0001')")
