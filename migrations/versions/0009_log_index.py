"""Add an index of the lines of logs, for searching."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the index; existing logs get into it by a grabber, which analyzes logs of older rules again."""
    op.create_table(
        "log_templates",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("words", sa.ARRAY(sa.Text), nullable=False),
        sa.PrimaryKeyConstraint("id", name="log_templates_pkey"),
    )
    op.create_index(
        "log_templates_words_idx",
        "log_templates",
        [sa.text("array_to_tsvector(words)")],
        postgresql_using="gin",
    )
    op.create_table(
        "log_index",
        sa.Column("identity", sa.Uuid, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("templates", sa.ARRAY(sa.Integer), nullable=False),
        sa.ForeignKeyConstraint(
            ["identity"],
            ["job_details.identity"],
            name="log_index_identity_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("identity", name="log_index_pkey"),
    )
    op.create_index("log_index_run_idx", "log_index", ["run"])
    op.create_index(
        "log_index_templates_idx",
        "log_index",
        ["templates"],
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 256},
    )
