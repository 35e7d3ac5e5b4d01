"""Under which PSEUDONYM_SECRET a database was made: every identity in it is a hash under that one."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db


class SecretChanged(Exception):
    """The database was made under another PSEUDONYM_SECRET: to go on would keep everything twice."""


def verify_secret(connection: sa.Connection, check_value: UUID) -> None:
    """Keeps the check value of the secret with the first who comes. Raises SecretChanged for another."""
    table = db.mirror_metadata
    first = insert(table).values(name="secret_check", value=str(check_value)).on_conflict_do_nothing()
    connection.execute(first)
    kept = connection.scalar(sa.select(table.c.value).where(table.c.name == "secret_check"))
    if kept != str(check_value):
        raise SecretChanged
