"""What stands for a machine or a document outside P5: keyed hashes and labels (data policy, "May leave")."""

import hmac
import re
from dataclasses import dataclass, field
from uuid import UUID

from config.parsers import short_name

# What separates the parts of a name.
_PART = re.compile(r"[-_.]")


def default_label(host: str) -> str:
    """The label of a machine, e.g. `dqmfu-c2b03-..` for `dqmfu-c2b03-45-01`, `fu..04` for `fu-c2f11-11-04`.

    Two machines can have one mask; the database tells them apart (`·2`).
    """
    parts = [part for part in _PART.split(short_name(host)) if part]
    if not parts:
        return ".."
    if parts[0].startswith("dqm"):
        return f"{'-'.join(parts[:2])}-.." if len(parts) > 2 else f"{parts[0]}-.."
    return f"{parts[0]}..{parts[-1]}" if len(parts) > 1 else f"{parts[0][:2]}.."


@dataclass(frozen=True)
class Pseudonymizer:
    """Keyed hashes under `PSEUDONYM_SECRET`: HMAC-SHA256, its first 128 bits as a UUID.

    They can't be turned back without the secret, and a machine keeps its identity when it is renamed in case
    or written with its domain.
    """

    secret: str = field(repr=False)

    def for_machine(self, host: str) -> UUID:
        """The identity of a machine, by its short name."""
        return self._keyed(short_name(host))

    def for_document(self, host: str, document_id: str) -> UUID:
        """The identity of a document; the machine is part of it, so none can pass for another machine's."""
        return self._keyed(short_name(host), document_id)

    def check_value(self) -> UUID:
        """A value by which a database tells whether it was made under this secret."""
        return self._keyed("", "check")

    def _keyed(self, *parts: str) -> UUID:
        message = "\0".join(parts).encode("utf-8", "surrogatepass")
        return UUID(bytes=hmac.digest(self.secret.encode(), message, "sha256")[:16])
