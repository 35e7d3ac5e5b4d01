"""List the releases of all runs, so that pages need not look for them among the runs."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

# Executed at the end of a transaction, by one at a time, as `mark_client_run`, with the same lock: whoever
# comes later sees the runs of all before.
_LIST_RELEASE = """
CREATE FUNCTION list_release() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(x'64716D09'::int);
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM releases WHERE cmssw_version = OLD.cmssw_version
        AND NOT EXISTS (SELECT FROM runs WHERE cmssw_version = OLD.cmssw_version);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO releases (cmssw_version)
        SELECT NEW.cmssw_version WHERE NEW.cmssw_version IS NOT NULL ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$
"""
_TRIGGERS = {
    "INSERT": "WHEN (NEW.cmssw_version IS NOT NULL)",
    "DELETE": "WHEN (OLD.cmssw_version IS NOT NULL)",
    "UPDATE": "WHEN (OLD.cmssw_version IS DISTINCT FROM NEW.cmssw_version)",
}
_LIST_ALL = """
INSERT INTO releases (cmssw_version) SELECT DISTINCT cmssw_version FROM runs WHERE cmssw_version IS NOT NULL
"""


def upgrade() -> None:
    """Add the table and its triggers, which list releases for programs of every revision, and list all.

    A trigger is added when nobody writes to its table, and nobody does until all releases are listed.
    """
    op.create_table(
        "releases",
        sa.Column("cmssw_version", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("cmssw_version", name="releases_pkey"),
    )
    op.execute(_LIST_RELEASE)
    for event, condition in _TRIGGERS.items():
        op.execute(
            f"CREATE CONSTRAINT TRIGGER runs_{event.lower()}_list_release AFTER {event} ON runs"
            f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW {condition} EXECUTE FUNCTION list_release()"
        )
    op.execute(_LIST_ALL)
