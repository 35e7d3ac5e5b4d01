"""Let a mute be of one group of crashes of a client."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the group to mutes; without one, a mute is of the whole client, as all existing mutes are."""
    op.add_column("mutes", sa.Column("crash_group", sa.Text))
