"""The files that settings name: one that can't be read is told by its setting, wherever it is needed.

All of them may be put there, or renewed, while a program runs, so that none is a reason to refuse to start.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from cryptography import x509

from dqmsquare_cfg import Settings

Fingerprint = tuple[int, int, int]


class UnreadableFile(Exception):
    """A file is not there, or is not this user's to read: a sentence that names its setting alone."""


def tls_files(settings: Settings) -> Mapping[str, Path]:
    """What a connection to DQM² is made of, by the settings that name it."""
    files = {
        "SERVER_GRID_CERT_PATH": settings.server_grid_cert_path,
        "SERVER_GRID_KEY_PATH": settings.server_grid_key_path,
    }
    if isinstance(settings.cmsweb_ca_path, Path):
        files["CMSWEB_CA_PATH"] = settings.cmsweb_ca_path
    return files


def control_room_files(settings: Settings) -> Mapping[str, Path]:
    """What the Control Room reads: the same, and what it knows CMSWEB's visitors by."""
    key_path = settings.cmsweb_hmac_path
    return {**tls_files(settings), **({"CMSWEB_HMAC_PATH": key_path} if key_path else {})}


def fingerprints(files: Mapping[str, Path]) -> tuple[Fingerprint, ...]:
    """What tells each file or folder from one that took its place. Raises UnreadableFile."""
    return tuple(_state(setting, path) for setting, path in files.items())


def unreadable_files(files: Mapping[str, Path]) -> Iterator[str]:
    """A sentence for each file that can't be read."""
    for setting, path in files.items():
        try:
            _state(setting, path)
        except UnreadableFile as error:
            yield str(error)


def certificate_expiry(path: Path) -> datetime:
    """Expiry time of a certificate file; of a chain, that of its first certificate.

    Raises OSError where the file can't be read, ValueError where it holds no certificate.
    """
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


def _state(setting: str, path: Path) -> Fingerprint:
    # Opened, for it may be there and another user's.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UnreadableFile(f"{setting} can't be read: {error.strerror}") from error
    try:
        state = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return state.st_ino, state.st_mtime_ns, state.st_size
