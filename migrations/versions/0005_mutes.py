"""Clients that are known to be bad, and raise no alarm for a while."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    """Adds a table; programs of the revision before go on as they did, and know of no mutes."""
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
    op.create_index("mutes_ends_at_idx", "mutes", ["ends_at"], unique=False)
