"""The cluster page tells which of a machine's documents could not be stored, and only where there are any."""

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from server import create_app
from simulator.documents import job_document
from simulator.simulator import Simulator
from storage.rows import QuarantinedDocument
from tests.mirrored import MirroredCluster
from tests.mirroring import FILTER_UNIT, mirror_once

# Without these nobody can tell what a document is about.
TIMELESS = {"timestamp": None, "report_timestamp": None}
TOLD = "Set aside"


@pytest.fixture
def client(simulated_settings: Settings) -> Iterator[FlaskClient]:
    """Who asks for what was mirrored of the simulator."""
    with create_app(simulated_settings).test_client() as client:
        yield client


def shown(client: FlaskClient) -> str:
    """The machines as the page shows them."""
    return client.get("/cluster/part").text


def test_it_tells_how_many_and_why_until_they_are_understood(
    simulator: Simulator, simulated_settings: Settings, client: FlaskClient
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    assert TOLD not in shown(client)
    for run in (2, 3):
        machine.upload({**job_document(run=run), **TIMELESS})
    assert mirror_once(simulated_settings)
    assert shown(client).count(TOLD) == 1
    assert "2 documents could not be stored, the newest at" in shown(client)
    assert re.search("a dqm-source-state: .*timestamp", shown(client))
    for run in (2, 3):
        machine.upload(job_document(run=run))
    assert mirror_once(simulated_settings)
    assert TOLD not in shown(client)


def test_it_forgets_what_its_machine_has_lost_with_all_the_rest(
    simulator: Simulator, simulated_settings: Settings, client: FlaskClient
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload({**job_document(run=2), **TIMELESS})
    assert mirror_once(simulated_settings)
    assert TOLD in shown(client)
    machine.reset()
    machine.upload(job_document(run=3))
    assert mirror_once(simulated_settings)
    assert TOLD not in shown(client)


def test_it_counts_no_further_than_matters(client: FlaskClient, mirrored: MirroredCluster) -> None:
    documents = [QuarantinedDocument(uuid4(), revision, "dqm-files", "a reason") for revision in range(1001)]
    mirrored.set_aside(mirrored.filter_units[0], documents)
    mirrored.beat()
    assert "more than 1\u202f000 documents could not be stored" in shown(client)
