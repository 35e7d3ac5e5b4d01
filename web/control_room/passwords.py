"""Password check whose duration does not depend on whether the user exists.

Passwords that the settings hold in plain text are hashed when they are first needed. Hashes of different
methods take different times, so each check computes one hash of every method in use: of the user's own
password where there is one, otherwise of another user's.
"""

import getpass
import sys
import threading
from collections.abc import Mapping

from werkzeug.security import check_password_hash, generate_password_hash

from config.parsers import HASH_PREFIXES

# A hash takes 32 MB and 0.1 s, so a process computes one at a time.
_HASHING = threading.Lock()
_MAX_LENGTH = 1024


class Passwords:
    """Users and their passwords, in plain text or hashed by Werkzeug."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._hashes = {user: value for user, value in users.items() if value.startswith(HASH_PREFIXES)}
        self._plain = {user: value for user, value in users.items() if not value.startswith(HASH_PREFIXES)}

    def verify(self, user: str, password: str) -> bool:
        """Whether this is the user's password."""
        with _HASHING:
            hashes = self._all_hashes()
            by_method = {_method(hash_): hash_ for hash_ in hashes.values()}
            own = hashes.get(user)
            if own is not None:
                by_method[_method(own)] = own
            candidate = password[:_MAX_LENGTH]
            matching = [hash_ for hash_ in by_method.values() if check_password_hash(hash_, candidate)]
        return own in matching and len(password) <= _MAX_LENGTH

    def _all_hashes(self) -> Mapping[str, str]:
        self._hashes.update({user: _hash(plain) for user, plain in self._plain.items()})
        self._plain = {}
        return self._hashes


def prompt_and_hash() -> str:
    """Read a password, typed twice on a terminal or as one line of standard input, and return its hash.

    Raises ValueError with a message for the user if the password is not acceptable.
    """
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Repeat password: ") != password:
            raise ValueError("The passwords differ.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password or len(password) > _MAX_LENGTH:
        raise ValueError(f"A password must have 1 to {_MAX_LENGTH} characters.")
    return _hash(password)


def _hash(password: str) -> str:
    return generate_password_hash(password, "scrypt")


def _method(hash_: str) -> str:
    """A hash's method and cost, such as `scrypt:32768:8:1`."""
    return hash_.partition("$")[0]
