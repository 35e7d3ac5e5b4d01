"""Pseudonyms of machines and documents outside P5: keyed hashes and labels (docs/data-policy.md)."""

import hmac
import re
from dataclasses import dataclass, field
from uuid import UUID

from config.parsers import short_name

_SEPARATOR = re.compile(r"[-_.]")


def default_label(host: str) -> str:
    """Label of a machine: `dqmfu-c2b03-..` for `dqmfu-c2b03-45-01`, `fu..04` for `fu-c2f11-11-04`.

    Machines may share a default label; the database then numbers them (`fu..04·2`).
    """
    parts = [part for part in _SEPARATOR.split(short_name(host)) if part]
    if not parts:
        return ".."
    if parts[0].startswith("dqm"):
        return f"{'-'.join(parts[:2])}-.." if len(parts) > 2 else f"{parts[0]}-.."
    return f"{parts[0]}..{parts[-1]}" if len(parts) > 1 else f"{parts[0][:2]}.."


@dataclass(frozen=True)
class Pseudonymizer:
    """Keyed hashes of host names and document ids: HMAC-SHA256 under `PSEUDONYM_SECRET`, its first 128 bits.

    They can't be reversed without the secret. Case and domain of a host name make no difference.
    """

    secret: str = field(repr=False)

    def for_machine(self, host: str) -> UUID:
        """Keyed hash of a machine's short name."""
        return self._hash(short_name(host))

    def for_document(self, host: str, document_id: str) -> UUID:
        """Keyed hash of a document's id and its machine, so that machines can't overwrite each other's."""
        return self._hash(short_name(host), document_id)

    def check_value(self) -> UUID:
        """Value that a database stores to detect a changed secret."""
        return self._hash("", "check")

    def _hash(self, *parts: str) -> UUID:
        message = "\0".join(parts).encode("utf-8", "surrogatepass")
        return UUID(bytes=hmac.digest(self.secret.encode(), message, "sha256")[:16])
