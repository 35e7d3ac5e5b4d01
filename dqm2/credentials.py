"""Credential files that settings name; a file that can't be read is reported by the name of its setting.

They may be created or renewed while a program runs, so a missing file does not keep a program from starting.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from dqmsquare_cfg import Settings

COOKIE_NAME = "selenium-secret-secret"

# Inode, time of change in nanoseconds, size.
Fingerprint = tuple[int, int, int]


class UnreadableFile(Exception):
    """Raised when a file is missing or can't be used; the message names its setting, not its path."""


def tls_files(settings: Settings) -> Mapping[str, Path]:
    """Files of a connection to DQM², by setting."""
    files = {
        "SERVER_GRID_CERT_PATH": settings.server_grid_cert_path,
        "SERVER_GRID_KEY_PATH": settings.server_grid_key_path,
    }
    if isinstance(settings.cmsweb_ca_path, Path):
        files["CMSWEB_CA_PATH"] = settings.cmsweb_ca_path
    return files


def control_room_files(settings: Settings) -> Mapping[str, Path]:
    """Files of the Control Room, by setting: those of a connection, and the key of CMSWEB's headers."""
    key_path = settings.cmsweb_hmac_path
    return {**tls_files(settings), **({"CMSWEB_HMAC_PATH": key_path} if key_path else {})}


def fingerprints(files: Mapping[str, Path]) -> tuple[Fingerprint, ...]:
    """Fingerprints that change when a file is replaced. Raises UnreadableFile."""
    return tuple(_fingerprint(setting, path) for setting, path in files.items())


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load the grid certificate and its key. Raises UnreadableFile."""
    try:
        # With an empty passphrase OpenSSL fails for an encrypted key, rather than asking the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise UnreadableFile(
            "SERVER_GRID_CERT_PATH and SERVER_GRID_KEY_PATH "
            f"must be a certificate and its key without a passphrase (OpenSSL: {_reason(error)})"
        ) from error


def load_authorities(context: ssl.SSLContext, ca_path: Path) -> None:
    """Load the certificate authorities of a file or a directory. Raises UnreadableFile."""
    is_directory = ca_path.is_dir()
    try:
        context.load_verify_locations(
            cafile=None if is_directory else ca_path, capath=ca_path if is_directory else None
        )
    except OSError as error:
        raise UnreadableFile(f"CMSWEB_CA_PATH has no certificate: {_reason(error)}") from error


def unreadable_files(files: Mapping[str, Path]) -> Iterator[str]:
    """A message for each file that can't be read."""
    for setting, path in files.items():
        try:
            _fingerprint(setting, path)
        except UnreadableFile as error:
            yield str(error)


def _fingerprint(setting: str, path: Path) -> Fingerprint:
    # Opened, not only looked up: the file may exist and belong to another user.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UnreadableFile(f"{setting} can't be read: {error.strerror}") from error
    try:
        state = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return state.st_ino, state.st_mtime_ns, state.st_size


def _reason(error: OSError | ValueError) -> str:
    """OpenSSL's reason in its words, else the system's."""
    if isinstance(error, ssl.SSLError):
        # Without a reason, no block of the file begins as it should.
        return error.reason.replace("_", " ").lower() if error.reason else "not in PEM format"
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
