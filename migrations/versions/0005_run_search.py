"""Index what runs are searched by: release, client and time."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the indexes; programs of the revision before can read the database as well."""
    op.create_index("runs_cmssw_version_run_idx", "runs", ["cmssw_version", "run"])
    op.create_index("jobs_client_run_idx", "jobs", ["client", "run"])
    op.create_index("jobs_started_at_run_idx", "jobs", ["started_at", "run"])
