"""Pseudonyms of machines: labels and keyed hashes."""

import hmac
from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest

import db
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqmsquare_cfg import Cluster, Settings
from storage.schema import SecretChanged
from storage.writer import MirrorWriter

CHECK = UUID(int=1)


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("dqmfu-c2b03-45-01", "dqmfu-c2b03-.."),
        ("dqmrubu-c2a06-03-01.cms", "dqmrubu-c2a06-.."),
        ("DQMFU-C2B03-45-01", "dqmfu-c2b03-.."),
        ("fu-c2f11-11-04", "fu..04"),
        ("bu-c2f11-09-01", "bu..01"),
    ],
)
def test_it_masks_a_name_as_users_know_it(host: str, label: str) -> None:
    assert default_label(host) == label


@pytest.mark.parametrize("host", ["", "-", "....", "dqm", "localhost", "dqmfu", "x" * 300])
def test_it_never_shows_a_whole_name(host: str) -> None:
    assert default_label(host) != host


def test_it_identifies_a_machine_by_its_short_name_in_lower_case() -> None:
    identities = Pseudonymizer("a secret")
    identity = identities.for_machine("dqmfu-c2b03-45-01")
    assert identity == identities.for_machine("DQMFU-C2B03-45-01.cms")
    assert identity.bytes == hmac.digest(b"a secret", b"dqmfu-c2b03-45-01", "sha256")[:16]
    assert identity != Pseudonymizer("another secret").for_machine("dqmfu-c2b03-45-01")


def test_it_keeps_documents_of_one_id_on_two_machines_apart() -> None:
    identities = Pseudonymizer("a secret")
    assert identities.for_document("a", "same") != identities.for_document("b", "same")
    assert identities.for_document("ab", "c") != identities.for_document("a", "bc")


def test_it_hides_its_secret() -> None:
    assert "hidden-thing" not in repr(Pseudonymizer("hidden-thing"))


def registered(settings: Settings, *registrations: Mapping[UUID, str]) -> list[str]:
    """The labels of the machines of the last of several registrations."""
    writer = MirrorWriter(db.engine(settings, Cluster.PLAYBACK, "tests"), uuid4())
    writer.take_over(CHECK)
    for default_labels in registrations:
        known = writer.register_machines(default_labels)
    return [machine.label for machine in known.values()]


def test_it_numbers_machines_of_equal_default_labels(settings: Settings) -> None:
    a, b, c = uuid4(), uuid4(), uuid4()
    assert registered(settings, {a: "fu..01", b: "fu..01", c: "fu..02"}) == ["fu..01·1", "fu..01·2", "fu..02"]


def test_it_keeps_assigned_labels(settings: Settings) -> None:
    a, b, c = uuid4(), uuid4(), uuid4()
    registrations = ({a: "fu..01"}, {b: "fu..01"}, {a: "fu..01", b: "fu..01", c: "fu..01"})
    assert registered(settings, *registrations) == ["fu..01", "fu..01·2", "fu..01·3"]


def test_it_numbers_from_2_if_the_unnumbered_label_is_taken(settings: Settings) -> None:
    a, b, c = uuid4(), uuid4(), uuid4()
    later = {b: "fu..01", c: "fu..01"}
    assert registered(settings, {a: "fu..01"}, later) == ["fu..01·2", "fu..01·3"]


def test_it_refuses_a_database_of_another_secret(settings: Settings) -> None:
    database = db.engine(settings, Cluster.PLAYBACK, "tests")
    MirrorWriter(database, uuid4()).take_over(Pseudonymizer("a secret").check_value())
    MirrorWriter(database, uuid4()).take_over(Pseudonymizer("a secret").check_value())
    with pytest.raises(SecretChanged):
        MirrorWriter(database, uuid4()).take_over(Pseudonymizer("another").check_value())
