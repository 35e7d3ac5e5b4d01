"""The end of an adoption: the earlier tables dropped, or all of it undone."""

import sqlalchemy as sa

import db
from legacy_import import legacy_tables

_LOCK_TIMEOUT = "5s"


def drop(database: sa.Engine) -> None:
    """Drops the earlier tables, with all that was not taken over.

    Raises OperationalError if they are in use.
    """
    with db.migration_lock(database) as connection, connection.begin():
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        legacy_tables.drop(connection)
        connection.execute(sa.delete(db.import_batches))


def undo(database: sa.Engine) -> None:
    """Puts the earlier tables back where they were; all that this mirror has is gone.

    Raises OperationalError if tables are in use.
    """
    with db.migration_lock(database) as connection, connection.begin():
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        db.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
        legacy_tables.put_back(connection)
