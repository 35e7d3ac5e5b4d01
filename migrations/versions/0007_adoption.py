"""What is taken over of an earlier mirror's tables, and how far that is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds a table; programs of the revision before go on as they did."""
    op.create_table(
        "adoption_batches",
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("first_run", sa.Integer),
        sa.Column("last_run", sa.Integer),
        sa.Column("documents", sa.Integer, nullable=False),
        sa.Column("left_out", JSONB()),
        sa.Column("done_at", sa.TIMESTAMP(timezone=True)),
        sa.PrimaryKeyConstraint("number", name="adoption_batches_pkey"),
    )
