"""Index what reports look up: transitions by time, and playback runs by the run that they play."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the indexes; programs of the revision before can read the database as well."""
    op.create_index("transitions_kind_occurred_at_idx", "transitions", ["kind", "occurred_at"])
    op.create_index("playbacks_source_run_run_idx", "playbacks", ["source_run", "run"])
