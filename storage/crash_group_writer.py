"""Writes of groups of crashes (`storage/crash_groups.py`)."""

from collections.abc import Iterable
from dataclasses import asdict
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from storage.crash_groups import CrashGroup


def write(connection: sa.Connection, groups: Iterable[CrashGroup]) -> None:
    """Write those groups that are new; a group whose crashes differ in their titles gets its general one."""
    # In one order everywhere, so that no two transactions wait for each other.
    rows = [asdict(group) for group in sorted(set(groups), key=attrgetter("signature", "title"))]
    if not rows:
        return
    statement = insert(db.crash_groups)
    general = sa.func.coalesce(sa.bindparam("general_title", type_=sa.Text), statement.excluded.title)
    is_other = db.crash_groups.c.title.not_in([statement.excluded.title, general])
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[db.crash_groups.c.signature], set_={"title": general}, where=is_other
        ),
        rows,
    )


def delete_empty(connection: sa.Connection) -> None:
    """Delete the groups without jobs, as a change of the rules leaves them, but not those of mutes."""
    # Waits for transactions that have written a group, whose jobs could not be seen yet.
    connection.execute(sa.text("LOCK TABLE crash_groups IN SHARE ROW EXCLUSIVE MODE"))
    signature = db.crash_groups.c.signature
    has_jobs = sa.exists().where(db.jobs.c.crash_group == signature)
    has_mutes = sa.exists().where(db.mutes.c.crash_group == signature)
    connection.execute(sa.delete(db.crash_groups).where(~has_jobs, ~has_mutes))
