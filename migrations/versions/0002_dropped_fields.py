"""Count values that the allowlist left out, by field."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table of the counts."""
    op.create_table(
        "dropped_fields",
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("documents", sa.BigInteger, nullable=False),
        sa.Column("newest_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("field", name="dropped_fields_pkey"),
    )
