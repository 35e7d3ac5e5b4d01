"""The grid certificate that lets the mirror in, as far as the mirror must know it: when it ends."""

from datetime import datetime
from pathlib import Path

from cryptography import x509


def ends_at(path: Path) -> datetime:
    """When the certificate of a file ends; of a chain the first, which is the mirror's own.

    Raises OSError where the file can't be read, ValueError where it holds no certificate.
    """
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
