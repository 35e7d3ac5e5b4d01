"""What is set aside is found by its machine, the newest first: the cluster page tells of it."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds an index; programs of the revision before go on as they did."""
    op.create_index(
        "set_aside_machine_id_epoch_updated_at_idx", "set_aside", ["machine_id", "epoch", "updated_at"]
    )
