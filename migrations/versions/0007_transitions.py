"""Add transitions, the present conditions that they lead to, and the receivers of notifications."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"

_TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Create the tables, empty: what is stored already is no transition."""
    op.create_table(
        "transitions",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("noted_at", _TIME, server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("occurred_at", _TIME, nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="transitions_pkey"),
    )
    op.create_index(
        "transitions_job_idx", "transitions", ["job"], postgresql_where=sa.text("job IS NOT NULL")
    )
    op.create_table(
        "conditions",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("is_problem", sa.Boolean, nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", name="conditions_pkey"),
    )
    op.create_table(
        "notification_receivers",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scheme", sa.Text, nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("things", JSONB(), server_default="{}", nullable=False),
        sa.Column("sent", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("dropped", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("dropped_at", _TIME),
        sa.Column("last_success_at", _TIME),
        sa.Column("failing_since", _TIME),
        sa.Column("failures", sa.Integer, server_default="0", nullable=False),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("name", name="notification_receivers_pkey"),
    )
