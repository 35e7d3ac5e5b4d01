"""Add what is found in the log of a job: the reason for a crash and the errors."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; existing jobs have version 0, which no program has, until a grabber fills them in."""
    op.add_column("jobs", sa.Column("log_rules", sa.SmallInteger, server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("crash", JSONB()))
    op.add_column("jobs", sa.Column("log_errors", JSONB()))
    op.create_index("jobs_log_rules_run_idx", "jobs", ["log_rules", "run"])
