"""Quarantined documents on the cluster page: count, newest type and reason, if there are any."""

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
from tests.grabber_runner import FILTER_UNIT, mirror_once
from tests.mirrored_cluster import MirroredCluster

# A document without these is invalid.
NO_TIMES = {"timestamp": None, "report_timestamp": None}
HEADING = "Quarantined"


@pytest.fixture
def client(simulated_settings: Settings) -> Iterator[FlaskClient]:
    """A client of an application that shows what was mirrored from the simulator."""
    with create_app(simulated_settings).test_client() as client:
        yield client


def machines(client: FlaskClient) -> str:
    """The fragment with all machines."""
    return client.get("/cluster/fragment").text


def test_it_shows_count_and_reason_until_the_documents_can_be_parsed(
    simulator: Simulator, simulated_settings: Settings, client: FlaskClient
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    assert HEADING not in machines(client)
    for run in (2, 3):
        machine.upload({**job_document(run=run), **NO_TIMES})
    assert mirror_once(simulated_settings)
    assert machines(client).count(HEADING) == 1
    assert "2 documents could not be stored. Newest: " in machines(client)
    assert re.search("type dqm-source-state: .*timestamp", machines(client))
    for run in (2, 3):
        machine.upload(job_document(run=run))
    assert mirror_once(simulated_settings)
    assert HEADING not in machines(client)


@pytest.mark.long
def test_it_forgets_documents_that_their_machine_has_deleted(
    simulator: Simulator, simulated_settings: Settings, client: FlaskClient
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload({**job_document(run=2), **NO_TIMES})
    assert mirror_once(simulated_settings)
    assert HEADING in machines(client)
    machine.reset()
    machine.upload(job_document(run=3))
    assert mirror_once(simulated_settings)
    assert HEADING not in machines(client)


@pytest.mark.long
def test_it_shows_large_counts_as_a_lower_limit(client: FlaskClient, mirrored: MirroredCluster) -> None:
    documents = [QuarantinedDocument(uuid4(), revision, "dqm-files", "a reason") for revision in range(1001)]
    mirrored.quarantine(mirrored.filter_units[0], documents)
    mirrored.beat()
    assert "more than 1\u202f000 documents could not be stored" in machines(client)


def test_it_shows_which_fields_were_left_out(
    simulator: Simulator, simulated_settings: Settings, client: FlaskClient
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    machine.upload(job_document(run=1))
    assert mirror_once(simulated_settings)
    assert "Left out" not in machines(client)
    for run in (2, 3):
        machine.upload(job_document(run=run, cmdline=["cmsRun", "/x/CMSSW_of_jdoe/src", "runkey=pp_run"]))
    assert mirror_once(simulated_settings)
    [(field, number)] = re.findall(
        r'<code>([^<]+)</code></th><td class="numeric">(\d+)</td>', machines(client)
    )
    assert (field, number) == ("cmdline (CMSSW version)", "2")
    assert "jdoe" not in machines(client)
