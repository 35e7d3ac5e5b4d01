"""Expiry of the grid certificate."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509


def expires_at(path: Path) -> datetime | None:
    """Expiry time of a certificate file, of a chain that of its first certificate; `None` if it has none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def has_expired(path: Path) -> bool:
    """Whether a certificate has expired; false for a file that has none."""
    at = expires_at(path)
    return at is not None and at <= datetime.now(UTC)
