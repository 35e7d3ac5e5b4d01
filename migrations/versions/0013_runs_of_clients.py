"""Mark the runs in which each client has a job, so that pages need not look for them among all jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BIT

revision = "0013"
down_revision = "0012"

# Executed at the end of a transaction, by one at a time: a row is shared by a thousand runs, and an import
# would wait for another's whole batch. Whoever comes later sees the jobs of all before. The first job whose
# bit is wrong corrects the whole row: a version of the row for each job would take quadratic time.
_MARK_BLOCK = """
CREATE FUNCTION mark_client_block(job_client text, job_run integer) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
DECLARE
    job_block integer := job_run / 1024;
    is_marked boolean := EXISTS (SELECT FROM client_runs WHERE client = job_client AND block = job_block
        AND get_bit(runs, job_run % 1024) = 1);
BEGIN
    IF is_marked <> EXISTS (SELECT FROM jobs WHERE client = job_client AND run = job_run) THEN
        INSERT INTO client_runs (client, block, runs)
        SELECT job_client, job_block, coalesce(bit_or(set_bit(0::bit(1024), run % 1024, 1)), 0::bit(1024))
        FROM jobs WHERE client = job_client AND run BETWEEN job_block * 1024 AND job_block * 1024 + 1023
        ON CONFLICT (client, block) DO UPDATE SET runs = excluded.runs;
    END IF;
END $$
"""
_MARK_RUN = """
CREATE FUNCTION mark_client_run() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(x'64716D09'::int);
    IF TG_OP <> 'INSERT' THEN
        PERFORM mark_client_block(OLD.client, OLD.run);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM mark_client_block(NEW.client, NEW.run);
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
    op.execute(_MARK_BLOCK)
    op.execute(_MARK_RUN)
    for events, condition in _TRIGGERS.items():
        name = f"jobs_{events.lower().replace(' ', '_')}_mark_client_run"
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {name} AFTER {events} ON jobs DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW {condition} EXECUTE FUNCTION mark_client_run()"
        )
    op.execute(_MARK_ALL)
