"""Links of pages: to neighbouring runs, other systems, release notes and the experts' contact list."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from config import parsers
from dqm2.records import DocumentVersion, PlaybackRecord, SimulatorState
from dqmsquare_cfg import Cluster, Settings
from server import create_app
from tests.examples import core_of
from tests.mirrored_cluster import MirroredCluster, job
from web.pages.external_links import release_notes_url

RUN, SOURCE_RUN = 358_791, 256_936
LINKS = (("OMS", "https://oms.example/{run}?a=1&b=2"), ("DQM GUI", "https://gui.example/?runnr={run}"))
EXPERTS = "https://experts.example/list?team=dqm"
RELEASES = "https://github.com/cms-sw/cmssw/releases/tag/CMSSW_"


@pytest.fixture
def linked(settings: Settings) -> FlaskClient:
    """A client of a server with links to other systems and to the experts."""
    return create_app(replace(settings, run_links=LINKS, experts_url=EXPERTS)).test_client()


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("12_4_8", "12_4_8"),
        ("12_4_8_39145_39162", "12_4_8"),
        ("14_1_0_pre3", "14_1_0_pre3"),
        ("13_0_5_patch1_41234", "13_0_5_patch1"),
        ("12_3_7_hltpatch1", "12_3_7_hltpatch1"),
        ("14_0_9_patch2_MULTIARCHS", "14_0_9_patch2_MULTIARCHS"),
        ("15_0_6_48001_test", "15_0_6"),
        ("16_0_0_cpu", "16_0_0"),
        ("15_1_X_2026-05-01-2300", None),
        ("15_0_0_ROOT632_X", None),
        ("2026-05-01", None),
    ],
)
def test_a_version_has_the_notes_of_its_release(version: str, release: str | None) -> None:
    assert release_notes_url(version) == (None if release is None else f"{RELEASES}{release}")


def test_a_run_leads_to_its_release_notes(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    mirrored.write(unit, job(RUN, "beam"), job(RUN + 1, "beam", cmssw_version="15_1_X_2026-05-01-2300"))
    assert f'<a href="{RELEASES}12_4_8"' in client.get(f"/?run={RUN}").text
    newer = client.get(f"/?run={RUN + 1}").text
    assert "15_1_X_2026-05-01-2300" in newer
    assert RELEASES not in newer


def test_neighbouring_runs_have_their_numbers(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], *(job(RUN + step, "beam") for step in (-7, 0, 4)))
    page = client.get(f"/?run={RUN}").text
    assert re.findall(r'<span class="step-run">(\d+)</span>', page) == [str(RUN - 7), str(RUN + 4)]


def test_a_run_leads_to_other_systems(linked: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    page = linked.get(f"/?run={RUN}").text
    assert f'<a href="https://oms.example/{RUN}?a=1&amp;b=2" rel="noopener" target="_blank"' in page
    assert f'<a href="https://gui.example/?runnr={RUN}" rel="noopener" target="_blank"' in page


def test_a_playback_run_leads_to_the_run_that_it_plays(linked: FlaskClient, settings: Settings) -> None:
    """Other systems know no run of the playback cluster."""
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    record = job(RUN, "beam")
    playback.write(playback.filter_units[0], record)
    assert "gui.example" not in linked.get(f"/?db=playback&run={RUN}").text
    version = DocumentVersion(record.document.identity, 1, record.document.updated_at)
    playback.write(
        playback.builder_unit,
        PlaybackRecord(version, RUN, SimulatorState.RUNNING, 17, 100, "pp_run", SOURCE_RUN),
    )
    assert f"https://gui.example/?runnr={SOURCE_RUN}" in linked.get(f"/?db=playback&run={RUN}").text


def test_problems_and_guides_lead_to_the_experts(
    linked: FlaskClient, client: FlaskClient, mirrored: MirroredCluster
) -> None:
    unit = mirrored.filter_units[0]
    mirrored.write(unit, job(RUN, "beam"), job(RUN + 1, "beam", exit_code=-11), job(RUN + 1, "csc"))
    mirrored.beat()
    crashed = job(RUN + 2, "beam", exit_code=-11)
    mirrored.write(unit, crashed)
    job_page = linked.get(f"/job/{crashed.document.identity}").text
    assert f'href="{EXPERTS}"' in job_page.partition('id="job"')[2]
    assert f'<a href="{RELEASES}12_4_8"' in job_page
    good, bad = (linked.get(f"/live/run?run={run}").text for run in (RUN, RUN + 1))
    assert good.count(EXPERTS) == 0
    assert bad.count(f'href="{EXPERTS}"') == 2, "at the verdict and in the row of the client"
    for path in ("/", "/help/shifter", "/cluster/"):
        assert EXPERTS in linked.get(path).text
    for path in ("/", "/help/shifter"):
        assert "experts-link" not in client.get(path).text
    assert "/help/shifter#the-clients" in client.get("/").text


def test_it_names_whom_to_call_on_wall_cluster_and_job_page(
    settings: Settings, mirrored: MirroredCluster
) -> None:
    contacts = parsers.contacts("*=DQM on call, 16 0000; ecal*=ECAL on call, 16 1234")
    client = create_app(replace(settings, experts=contacts)).test_client()
    crashed = job(RUN, "ecal", exit_code=-11)
    mirrored.write(mirrored.filter_units[0], crashed, job(RUN, "csc"))
    now = datetime.now(UTC)
    mirrored.set_machine_state(mirrored.filter_units[1], now, down_reason="No route to host")
    mirrored.beat()
    wall = client.get("/live/wall").text
    assert re.findall(r"call (\w+ on call)", wall) == ["ECAL on call"]
    assert re.findall(r"call (\w+ on call)", client.get("/cluster/fragment").text) == ["DQM on call"]
    job_page = client.get(f"/job/{crashed.document.identity}/fragment").text
    assert re.findall(r"call (\w+ on call)", job_page) == ["ECAL on call"]


def test_it_names_whom_to_call_beside_each_problem_and_banner(
    settings: Settings, mirrored: MirroredCluster
) -> None:
    contacts = parsers.contacts(
        "*=DQM on call, 16 0000; ecal*=ECAL on call, +41 75 411 0000; "
        "ecalgpu=GPU expert, https://example.org/gpu?a=b"
    )
    app = create_app(replace(settings, experts=contacts, experts_url=EXPERTS))
    mirrored.write(
        mirrored.filter_units[0],
        *(job(RUN, client, exit_code=-11) for client in ("beam", "ecal", "ecalcalib", "ecalgpu")),
        job(RUN, "csc"),
    )
    mirrored.beat(datetime.now(UTC) - timedelta(hours=1))
    page = app.test_client().get("/").text
    called = {
        client: " ".join(re.sub(r"<[^>]*>", " ", text).split())
        for client, text in re.findall(
            r'data-client="(\w+)".*?<span class="next-steps">(.*?)</th>', page, re.DOTALL
        )
    }
    assert called == {
        "beam": "call DQM on call 16 0000 what to do",
        "ecal": "call ECAL on call +41 75 411 0000 what to do",
        "ecalcalib": "call ECAL on call +41 75 411 0000 what to do",
        "ecalgpu": "call GPU expert what to do",
    }
    assert 'href="tel:+41754110000"' in page
    assert 'href="https://example.org/gpu?a=b"' in page
    banner = page.partition("data-outage")[2].partition("</div>")[0]
    assert "call DQM on call" in banner
    assert "/help/shifter#are-the-data-up-to-date" in banner


@pytest.mark.long
def test_it_says_in_colour_that_a_client_crashed_before_its_restart(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    now = datetime.now(UTC)
    earlier = now - timedelta(hours=2)
    crashed = [
        job(RUN, client, exit_code=-11, started_at=earlier, at=now) for client in ("beam", "beam", "csc")
    ]
    later = [job(RUN, client, started_at=now, at=now) for client in ("beam", "csc", "dt")]
    mirrored.write(mirrored.filter_units[0], *crashed, *later, job(RUN, "ecal", exit_code=-9))
    page = client.get(f"/?run={RUN}").text
    assert re.findall(r'<tbody id="client-(\w+)_dqm[^"]*" class="[^"]*has-crashed', page) == ["beam", "csc"]
    assert re.findall(r"crashed ×(\d), restarted", page) == ["2", "1"]
    assert "3 clients,<br>4 jobs" in page
    assert "<span>of 3 clients</span>" in client.get("/statistics/").text


def test_the_timeline_shows_how_many_jobs_a_cell_stands_for(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    unit = mirrored.filter_units[0]
    mirrored.write(
        unit,
        job(RUN, "beam", exit_code=-11),
        job(RUN, "beam", exit_code=-11),
        job(RUN, "beam"),
        job(RUN, "csc", events_total=950),
        job(RUN + 1, "csc", exit_code=-11, events_total=20),
    )
    cells = re.findall(r"<td>(?:<a[^>]*>)?([^<]*)", client.get("/timeline/").text)
    assert cells == ["–", "20", "1/2", "950"]


@pytest.mark.parametrize("prefix", core_of(["/dqm/dqm-square", f"/{UUID(int=0)}"], "/dqm/dqm-square"))
def test_a_client_leads_to_the_page_of_its_job_below_any_prefix(
    settings: Settings, mirrored: MirroredCluster, prefix: str
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    app = create_app(replace(settings, server_url_prefix=prefix))
    client = app.test_client()
    found = re.search(r'class="log" href="([^"#]*)#log"', client.get(f"{prefix}/").text)
    assert found is not None
    path = found[1]
    assert path.startswith(f"{prefix}/job/")
    assert client.get(path).status_code == 200
