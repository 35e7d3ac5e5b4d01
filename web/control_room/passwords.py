"""Passwords of the Control Room, compared in a time that does not tell whether there is such a user.

Those that the settings hold in plain text are hashed when they are first needed. Hashes of different methods
take different times, so a try computes one of each method that any user has: of the user's own password where
there is one, else of somebody's.
"""

import getpass
import sys
import threading
from collections.abc import Mapping

from werkzeug.security import check_password_hash, generate_password_hash

_HASHED = ("scrypt:", "pbkdf2:")
# A hash takes 32 MB and a tenth of a second: this many at a time, however many knock.
_AT_A_TIME = threading.BoundedSemaphore(2)
_LONGEST = 1024


class Passwords:
    """The users and their passwords, plain or as Werkzeug hashes them."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._hashes = {user: known for user, known in users.items() if known.startswith(_HASHED)}
        self._plain = {user: known for user, known in users.items() if not known.startswith(_HASHED)}
        self._hashing = threading.Lock()

    def accepts(self, user: str, password: str) -> bool:
        """Whether this is the user's password."""
        with _AT_A_TIME:
            hashes = self._hashed()
            of_each_method = {_method(known): known for known in hashes.values()}
            own = hashes.get(user)
            if own is not None:
                of_each_method[_method(own)] = own
            given = password[:_LONGEST]
            right = [known for known in of_each_method.values() if check_password_hash(known, given)]
        return own in right and len(password) <= _LONGEST

    def _hashed(self) -> Mapping[str, str]:
        with self._hashing:
            self._hashes.update({user: _hash(plain) for user, plain in self._plain.items()})
            self._plain = {}
        return self._hashes


def hash_asked_for() -> str:
    """The hash of a password that a person types twice, or that a program sends as a line.

    Raises ValueError with a sentence where that is none.
    """
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("The same again: ") != password:
            raise ValueError("The two are not the same.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password or len(password) > _LONGEST:
        raise ValueError(f"A password has from 1 to {_LONGEST} characters.")
    return _hash(password)


def _hash(password: str) -> str:
    return generate_password_hash(password, "scrypt")


def _method(known: str) -> str:
    """What a hash was made by, and with which cost: `scrypt:32768:8:1`."""
    return known.partition("$")[0]
