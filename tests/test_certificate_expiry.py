"""Expiry of the grid certificate: logged from 14 days before, a metric, and a banner on the pages."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import prometheus_client
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster, Settings
from grabbing.certificate_monitor import CertificateMonitor
from tests.grabber_runner import mirror_once, reader
from tests.mirrored_cluster import MirroredCluster

DAY = timedelta(days=1)


def write_certificate(path: Path, expires_at: datetime) -> None:
    """Write a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "robot")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(expires_at - 365 * DAY)
        .not_valid_after(expires_at)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of the certificate, which is not written yet."""
    return tmp_path / "robotcert.pem"


def in_days(days: float) -> datetime:
    return (datetime.now(UTC) + days * DAY).replace(microsecond=0)


def test_it_reports_the_expiry(path: Path) -> None:
    expires_at = in_days(200)
    write_certificate(path, expires_at)
    assert CertificateMonitor(path, Cluster.PLAYBACK).expires_at() == expires_at
    metric = "dqmsquare_certificate_expiry_timestamp_seconds"
    found = prometheus_client.REGISTRY.get_sample_value(metric, {"cluster": "playback"})
    assert found == expires_at.timestamp()


@pytest.mark.parametrize(("days", "warnings"), [(15, 0), (13, 1), (-1, 1)])
def test_it_warns_once_from_14_days_before(
    path: Path, caplog: pytest.LogCaptureFixture, days: float, warnings: int
) -> None:
    write_certificate(path, in_days(days))
    monitor = CertificateMonitor(path, Cluster.PLAYBACK)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            monitor.expires_at()
    assert [record.getMessage().startswith("certificate_expiring ") for record in caplog.records] == [
        True
    ] * warnings


def test_it_notices_a_renewed_certificate(path: Path) -> None:
    write_certificate(path, in_days(3))
    monitor = CertificateMonitor(path, Cluster.PLAYBACK)
    monitor.expires_at()
    path.unlink()
    assert monitor.expires_at() is None
    renewed = in_days(365)
    write_certificate(path, renewed)
    assert monitor.expires_at() == renewed


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_it_knows_no_expiry_of_a_file_without_a_certificate(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert CertificateMonitor(path, Cluster.PLAYBACK).expires_at() is None


def test_the_grabber_passes_it_to_the_pages(simulated_settings: Settings) -> None:
    assert mirror_once(simulated_settings)
    freshness = reader(simulated_settings).cluster.sync_status()
    assert freshness is not None
    assert freshness.certificate_expires_at is not None
    assert freshness.certificate_expires_at > datetime.now(UTC)


@pytest.mark.parametrize(
    ("days", "warnings"),
    [
        (30, []),
        (13, ["expires on", "Nothing can be mirrored after that"]),
        (-2, ["expired on", "Nothing can be mirrored until it is renewed"]),
    ],
)
def test_every_page_warns_of_it(
    client: FlaskClient, settings: Settings, days: float, warnings: list[str]
) -> None:
    MirroredCluster(settings).beat(certificate_expires_at=in_days(days))
    for page in ("/", "/cluster/", "/live/freshness?db=production"):
        text = client.get(page).text
        assert text.count("The grid certificate") == bool(warnings)
        assert all(warning in text for warning in warnings)
