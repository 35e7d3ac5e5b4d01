"""Which version of a machine's head was mirrored, so that another one at its revision is noticed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds a column; programs of the revision before go on as they did."""
    op.add_column("machines", sa.Column("head_at", sa.TIMESTAMP(timezone=True)))
