"""Mark the runs in which each client has a job, so that pages need not look for them among all jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BIT

revision = "0013"
down_revision = "0012"

# Executed at the end of a transaction, by one at a time: a row is shared by a thousand runs, and an import
# would wait for another's whole batch. Whoever comes later sees the jobs of all before.
_MARK_RUN = """
CREATE FUNCTION mark_client_run() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(x'64716D09'::int);
    IF TG_OP <> 'INSERT' THEN
        UPDATE client_runs SET runs = set_bit(runs, OLD.run % 1024, 0)
        WHERE client = OLD.client AND block = OLD.run / 1024
        AND NOT EXISTS (SELECT FROM jobs WHERE client = OLD.client AND run = OLD.run);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO client_runs AS known (client, block, runs)
        VALUES (NEW.client, NEW.run / 1024, set_bit(0::bit(1024), NEW.run % 1024, 1))
        ON CONFLICT (client, block) DO UPDATE SET runs = known.runs | excluded.runs
        WHERE known.runs <> known.runs | excluded.runs;
    END IF;
    RETURN NULL;
END $$
"""
_TRIGGERS = {
    "INSERT OR DELETE": "",
    "UPDATE": "WHEN ((OLD.client, OLD.run) IS DISTINCT FROM (NEW.client, NEW.run))",
}
_MARK_ALL = """
INSERT INTO client_runs (client, block, runs)
SELECT client, run / 1024, bit_or(set_bit(0::bit(1024), run % 1024, 1)) FROM jobs GROUP BY client, run / 1024
"""


def upgrade() -> None:
    """Add the table and its triggers, which mark runs for programs of every revision, and mark all runs.

    A trigger is added when nobody writes to its table, and nobody does until all runs are marked.
    """
    op.create_table(
        "client_runs",
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("block", sa.Integer, nullable=False),
        sa.Column("runs", BIT(1024), nullable=False),
        sa.PrimaryKeyConstraint("client", "block", name="client_runs_pkey"),
    )
    op.execute(_MARK_RUN)
    for events, condition in _TRIGGERS.items():
        name = f"jobs_{events.lower().replace(' ', '_')}_mark_client_run"
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {name} AFTER {events} ON jobs DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW {condition} EXECUTE FUNCTION mark_client_run()"
        )
    op.execute(_MARK_ALL)
