"""Count the jobs of each group of crashes by run, so that pages need not count them among all jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

# The row of the run is locked, so that whoever changes it next sees the crash, and describes it again.
_COUNT_CRASH = """
CREATE FUNCTION count_crash() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.crash_group IS NOT NULL THEN
        UPDATE crash_group_runs SET jobs = jobs - 1 WHERE run = OLD.run AND crash_group = OLD.crash_group;
        DELETE FROM crash_group_runs WHERE run = OLD.run AND crash_group = OLD.crash_group AND jobs = 0;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.crash_group IS NOT NULL THEN
        PERFORM FROM runs WHERE run = NEW.run FOR SHARE;
        INSERT INTO crash_group_runs AS known (run, crash_group, jobs, run_key, cmssw_version)
        SELECT crashed.run, NEW.crash_group, 1, run_key, cmssw_version
        FROM (VALUES (NEW.run)) AS crashed (run) LEFT JOIN runs USING (run)
        ON CONFLICT (run, crash_group) DO UPDATE SET jobs = known.jobs + 1;
    END IF;
    RETURN NULL;
END $$
"""
_DESCRIBE_CRASHES = """
CREATE FUNCTION describe_crashes() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE crash_group_runs SET run_key = NEW.run_key, cmssw_version = NEW.cmssw_version
    WHERE run = NEW.run AND (run_key, cmssw_version) IS DISTINCT FROM (NEW.run_key, NEW.cmssw_version);
    RETURN NULL;
END $$
"""
# Event, table, condition and function of each trigger. The conditions leave out nearly all rows.
_TRIGGERS = (
    ("INSERT", "jobs", "NEW.crash_group IS NOT NULL", "count_crash"),
    ("DELETE", "jobs", "OLD.crash_group IS NOT NULL", "count_crash"),
    (
        *("UPDATE", "jobs"),
        "(OLD.crash_group, OLD.run) IS DISTINCT FROM (NEW.crash_group, NEW.run)",
        "count_crash",
    ),
    ("INSERT", "runs", "NEW.run_key IS NOT NULL OR NEW.cmssw_version IS NOT NULL", "describe_crashes"),
    (
        *("UPDATE", "runs"),
        "(OLD.run_key, OLD.cmssw_version) IS DISTINCT FROM (NEW.run_key, NEW.cmssw_version)",
        "describe_crashes",
    ),
)
_COUNT_ALL = """
INSERT INTO crash_group_runs (run, crash_group, jobs, run_key, cmssw_version)
SELECT jobs.run, jobs.crash_group, count(*), runs.run_key, runs.cmssw_version
FROM jobs LEFT JOIN runs ON runs.run = jobs.run
WHERE jobs.crash_group IS NOT NULL GROUP BY jobs.run, jobs.crash_group, runs.run_key, runs.cmssw_version
"""


def upgrade() -> None:
    """Add the table and its triggers, which count for programs of every revision, and count all crashes.

    A trigger is added when nobody writes to its table, and nobody does until all are counted.
    """
    op.create_table(
        "crash_group_runs",
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("crash_group", sa.Text, nullable=False),
        sa.Column("jobs", sa.Integer, nullable=False),
        sa.Column("run_key", sa.Text),
        sa.Column("cmssw_version", sa.Text),
        sa.PrimaryKeyConstraint("run", "crash_group", name="crash_group_runs_pkey"),
    )
    op.execute(_COUNT_CRASH)
    op.execute(_DESCRIBE_CRASHES)
    for event, table, condition, function in _TRIGGERS:
        op.execute(
            f"CREATE TRIGGER {table}_{event.lower()}_{function} AFTER {event} ON {table}"
            f" FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {function}()"
        )
    op.execute(_COUNT_ALL)
    op.create_index(
        "crash_group_runs_crash_group_run_idx",
        "crash_group_runs",
        ["crash_group", "run"],
        postgresql_include=["jobs", "run_key", "cmssw_version"],
    )
