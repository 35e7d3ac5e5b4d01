"""What many years of runs need: dictionaries for logs, runs by their key, dead rows cleared away in time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# What is compressed already is not to be compressed again.
_COMPRESSED = (
    "ALTER TABLE job_details ALTER COLUMN memory SET STORAGE EXTERNAL",
    "ALTER TABLE job_details ALTER COLUMN events SET STORAGE EXTERNAL",
    "ALTER TABLE job_details ALTER COLUMN fates SET STORAGE EXTERNAL",
    "ALTER TABLE job_details ALTER COLUMN log SET STORAGE EXTERNAL",
    "ALTER TABLE deliveries ALTER COLUMN streams SET STORAGE EXTERNAL",
)
# A running job is written anew with each of its reports, so that dead rows come at the pace of a cluster's
# reports, however many rows there are: they are cleared away by their number, not by their share.
_VACUUMED = (
    "ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)",
    "ALTER TABLE job_details SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)",
    "ALTER TABLE job_details SET (toast.autovacuum_vacuum_scale_factor = 0)",
    "ALTER TABLE job_details SET (toast.autovacuum_vacuum_threshold = 20000)",
)


def upgrade() -> None:
    """Adds a table and an index; what is packed from here on only programs of this revision can read."""
    op.create_table(
        "log_dictionaries",
        sa.Column("version", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("trained_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version", name="log_dictionaries_pkey"),
    )
    op.create_index("runs_run_key_run_idx", "runs", ["run_key", "run"], unique=False)
    for statement in (*_COMPRESSED, *_VACUUMED):
        op.execute(statement)
    op.execute("UPDATE installation SET value = '0004' WHERE name = 'readable_from'")
