"""Store the statistics of a file delivery with it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns; a grabber fills them for the deliveries that are stored already."""
    op.add_column("deliveries", sa.Column("delay_mean_s", sa.Double))
    op.add_column("deliveries", sa.Column("delay_deviation_s", sa.Double))
    op.add_column("deliveries", sa.Column("last_lumisection", sa.Integer))
    op.add_column("deliveries", sa.Column("events_accepted", sa.BigInteger))
    op.add_column("deliveries", sa.Column("size_bytes", sa.BigInteger))
    op.add_column("deliveries", sa.Column("statistics_revision", sa.BigInteger))
    op.create_index(
        "deliveries_outdated_idx",
        "deliveries",
        ["run"],
        postgresql_where=sa.text("statistics_revision IS DISTINCT FROM revision"),
    )
