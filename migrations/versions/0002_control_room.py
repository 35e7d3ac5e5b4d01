"""The Control Room: who is signed in, tries to sign in that failed, and the audit."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Adds tables; programs of the revision before go on as they did."""
    op.create_table(
        "control_sessions",
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("login", sa.Text),
        sa.Column("credential", sa.LargeBinary, nullable=False),
        sa.Column("began_at", _TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("ends_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="control_sessions_pkey"),
    )
    op.create_table(
        "sign_in_tries",
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="sign_in_tries_pkey"),
    )
    op.create_table(
        "control_audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("received_at", _TIME, server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("person", sa.Text),
        sa.Column("login", sa.Text),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("is_change", sa.Boolean, nullable=False),
        sa.Column("cluster", sa.Text),
        sa.Column("machine", sa.Text),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("once", sa.Uuid),
        sa.Column("desk", sa.Integer),
        sa.Column("sent_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("outcome", sa.Text),
        sa.Column("sentence", sa.Text),
        sa.PrimaryKeyConstraint("id", name="control_audit_pkey"),
        sa.UniqueConstraint("once", name="control_audit_once_key"),
    )
    op.create_index("control_audit_received_at_idx", "control_audit", ["received_at"], unique=False)
