"""What strangers are refused stands in the audit too, told together; what is open in it is found at once."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds columns and indexes; programs of the revision before go on as they did."""
    op.add_column("control_audit", sa.Column("address", sa.LargeBinary))
    op.add_column("control_audit", sa.Column("told_together", sa.LargeBinary))
    op.add_column("control_audit", sa.Column("times", sa.Integer, server_default="1", nullable=False))
    op.create_unique_constraint("control_audit_told_together_key", "control_audit", ["told_together"])
    op.create_index(
        "control_audit_open_idx",
        "control_audit",
        ["id"],
        unique=False,
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_index(
        "control_audit_strangers_idx",
        "control_audit",
        ["id"],
        unique=False,
        postgresql_where=sa.text("told_together IS NOT NULL"),
    )
