"""Add the time at which an earlier mirror last polled a machine's state."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; it is empty without an import."""
    op.add_column("machines", sa.Column("state_checked_at", sa.TIMESTAMP(timezone=True)))
