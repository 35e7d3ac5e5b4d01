"""Add groups of crashes with the same signature."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the groups; existing jobs get theirs from a grabber, which analyzes logs of older rules again."""
    op.create_table(
        "crash_groups",
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("signature", name="crash_groups_pkey"),
    )
    op.create_index("crash_groups_client_idx", "crash_groups", ["client"])
    op.add_column("jobs", sa.Column("crash_group", sa.Text))
    op.create_index(
        "jobs_crash_group_run_idx",
        "jobs",
        ["crash_group", "run"],
        postgresql_where=sa.text("crash_group IS NOT NULL"),
    )
