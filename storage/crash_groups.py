"""Groups of crashes with the same signature.

Signatures do not depend on the database, so that a batch is written without looking up its groups, and a
group has the same id in both clusters and after an import. Parser processes need what is here, so it has no
SQL; `storage/crash_group_writer.py` stores groups.
"""

from dataclasses import dataclass

from dqm2.crash_signatures import sign
from dqm2.records import CrashKind, CrashReason
from storage.client_names import client_name


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
