"""Throwaway certificate authority that signs the simulator's server certificate and a client certificate.

They take the place of CERN's grid certificates. Existing files in the folder are reused while they are valid.
"""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID_FOR = timedelta(days=30)
# Certificates with less time left are renewed at the next start, so that none expires during a demo.
_RENEW_BEFORE = timedelta(days=2)
# The clocks of a container and its host may differ slightly.
_BACKDATED_BY = timedelta(hours=1)


@dataclass(frozen=True)
class CertificateFiles:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """The authority of a folder and the certificates that it signed.

    Keys are readable by their owner only. Raises OSError if the folder can't be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._own = CertificateFiles(folder / "ca.pem", folder / "ca.key.pem")
        self.server = CertificateFiles(folder / "server.pem", folder / "server.key.pem")
        self.client = CertificateFiles(folder / "client.pem", folder / "client.key.pem")
        self.expired_server = CertificateFiles(
            folder / "expired-server.pem", folder / "expired-server.key.pem"
        )
        if not all(_is_valid(files, self._own) for files in (self._own, self.server, self.client)):
            self._make_all()

    @property
    def ca_path(self) -> Path:
        """The authority's certificate, with which clients verify the simulator."""
        return self._own.certificate

    def renew_client(self, *, valid_for: timedelta = _VALID_FOR) -> None:
        """Replace the client's certificate and key; a negative `valid_for` makes an expired one."""
        self._issue(self.client, "DQM² Mirror", _client_extensions(), valid_for=valid_for)

    def make_expired_server(self) -> None:
        """Make a server certificate that expired yesterday, for tests of certificate verification."""
        self._issue(self.expired_server, "localhost", _server_extensions(), valid_for=-timedelta(days=1))

    def _make_all(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("DQM² simulator, throwaway authority")
        extensions = [
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_key_usage(signs_certificates=True), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ]
        certificate = _certificate(name, name, key.public_key(), key, extensions, _VALID_FOR)
        _write(self._own, certificate, key)
        self._issue(self.server, "localhost", _server_extensions(), valid_for=_VALID_FOR)
        self.renew_client()

    def _issue(
        self,
        files: CertificateFiles,
        common_name: str,
        extensions: Sequence[tuple[x509.ExtensionType, bool]],
        *,
        valid_for: timedelta,
    ) -> None:
        authority = x509.load_pem_x509_certificate(self._own.certificate.read_bytes())
        authority_key = serialization.load_pem_private_key(self._own.key.read_bytes(), password=None)
        if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self._own.key} is not an elliptic-curve key")
        key = ec.generate_private_key(ec.SECP256R1())
        signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        certificate = _certificate(
            _name(common_name),
            authority.subject,
            key.public_key(),
            authority_key,
            [*extensions, (signed_by, False)],
            valid_for,
        )
        _write(files, certificate, key)


def _is_valid(files: CertificateFiles, issuer: CertificateFiles) -> bool:
    """Whether certificate and key match, were signed by `issuer` and don't expire soon."""
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(issuer.certificate.read_bytes()))
    except (OSError, ValueError, InvalidSignature):
        return False
    remaining = certificate.not_valid_after_utc - datetime.now(UTC)
    return key.public_key() == certificate.public_key() and remaining > _RENEW_BEFORE


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    signing_key: ec.EllipticCurvePrivateKey,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    valid_for: timedelta,
) -> x509.Certificate:
    not_after = datetime.now(UTC) + valid_for
    not_before = min(datetime.now(UTC), not_after - _BACKDATED_BY) - _BACKDATED_BY
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signing_key, hashes.SHA256())


def _server_extensions() -> list[tuple[x509.ExtensionType, bool]]:
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    return [
        (names, False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]


def _client_extensions() -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    ]


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write(files: CertificateFiles, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _replace(files.key, pem, mode=0o600)
    _replace(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Replace a file atomically: a client that is reading gets the old file or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
