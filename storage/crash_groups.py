"""Groups of crashes with the same signature, in the database.

Signatures do not depend on the database, so that a batch is written without looking up its groups, and a
group has the same id in both clusters and after an import.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from dqm2.crash_signatures import sign
from dqm2.records import CrashKind, CrashReason
from storage.read_models import client_name


@dataclass(frozen=True, slots=True)
class CrashGroup:
    """A group of crashes of a client, which is named by its tag; `signature` is its id.

    `kind` is that of the crash by which the mirror learned of the group, and so is `title` until a crash with
    another title follows. `general_title` replaces it then; it is known only of a group to be written.
    """

    signature: str
    client: str
    title: str
    kind: CrashKind
    general_title: str | None = None


_KINDS = {kind.value: kind for kind in CrashKind}


def parse_kind(value: str) -> CrashKind:
    """A stored kind; one that this program does not know is `unknown`."""
    return _KINDS.get(value, CrashKind.UNKNOWN)


def group_of(client: str, exit_code: int | None, crash: CrashReason | None) -> CrashGroup | None:
    """The group of a job of a client (tag); `None` unless the job crashed."""
    if not exit_code:
        return None
    signature = sign(client_name(client), exit_code, crash)
    kind = CrashKind.UNKNOWN if crash is None else crash.kind
    return CrashGroup(signature.key, client, signature.title, kind, signature.general_title)


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
