"""Contacts of experts by client, and for the mirror itself, from the setting `EXPERTS`."""

from collections.abc import Callable, Sequence

from config.parsers import WILDCARD, Contact


def lookup(contacts: Sequence[tuple[str, Contact]]) -> Callable[..., Contact | None]:
    """A function that returns the contact of a client, or that of everything else if none is named.

    A full name wins over a prefix, and a longer prefix over a shorter one, whatever the order of the setting.
    """
    by_pattern = dict(contacts)
    prefixes = sorted(
        (pattern for pattern in by_pattern if pattern.endswith(WILDCARD)), key=len, reverse=True
    )

    def contact_of(client: str = "") -> Contact | None:
        name = client.lower()
        if name in by_pattern:
            return by_pattern[name]
        found = (pattern for pattern in prefixes if name.startswith(pattern.removesuffix(WILDCARD)))
        return by_pattern.get(next(found, ""))

    return contact_of
