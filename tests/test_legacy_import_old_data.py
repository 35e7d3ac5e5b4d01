"""Years of data of an earlier mirror: a retired cluster, jobs without clocks, and starts that are unknown."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster, Settings
from server import create_app
from tests.legacy_mirror import (
    BUILDER_UNIT,
    FILTER_UNIT,
    RUN,
    UNKNOWN,
    LegacyMirror,
    Row,
    graph,
    job,
    run_adopt,
)
from tools.demo.postgres import EmbeddedPostgres
from web import databases
from web.metrics import MirrorCollector

RETIRED_FILTER_UNIT, RETIRED_BUILDER_UNIT = "fu-c2f11-11-01", "bu-c2f11-09-01"
# The last machine had no clock: none of its jobs has a time of its own.
CLOCKLESS_FILTER_UNIT = "fu-c2f11-13-01"
SUMMER_2018 = datetime(2018, 7, 3, 20, 15, tzinfo=UTC)
AUTUMN_2022 = datetime(2022, 9, 15, 14, tzinfo=UTC)
RETIRED, WITHOUT_DELIVERY, CLOCKLESS, NEWEST, DELIVERED_ALONE = 319_100, 319_104, 331_001, RUN, RUN + 3
PLAYED, PLAYED_ELSEWHERE = 500_101, 500_102


def client_job(number: int, client: str, run: int, at: datetime, **values: Any) -> Row:
    """A row of `runs`: a client's job that last reported at a time."""
    tag = f"{client}_dqm_sourceclient-live"
    return job(number, client=tag, run=run, **{"cmssw_run": run, "timestamp": at, **values})


def delivery(run: int, at: datetime, host: str = RETIRED_BUILDER_UNIT, **values: Any) -> Row:
    """A row of `graphs` for a run that started two hours before `at`."""
    document_id = f"dqm-files-{host}-analyze_files-run{run}"
    start = at - timedelta(hours=2)
    times = {"timestamp": at, "global_start": start, **values}
    return graph(run, hostname=host, id=document_id, **times)


@pytest.fixture(scope="module")
def adopted(
    shared_environment: dict[str, str], shared_settings: Settings, postgres: EmbeddedPostgres
) -> Settings:
    """Both clusters' databases, as an earlier mirror left them years ago, adopted."""
    production = LegacyMirror(postgres, shared_settings.database(Cluster.PRODUCTION))
    on_retired: Row = {"host": RETIRED_FILTER_UNIT}
    production.write(
        "runs",
        client_job(1, "beam", RETIRED, SUMMER_2018, **on_retired),
        client_job(2, "csc", RETIRED, SUMMER_2018 + timedelta(seconds=19), exit_code=None, **on_retired),
        client_job(3, "dt", RETIRED, SUMMER_2018, exit_code=-1, **on_retired),
        client_job(4, "beam", WITHOUT_DELIVERY, SUMMER_2018 + timedelta(days=1), **on_retired),
        client_job(5, "csc", WITHOUT_DELIVERY, SUMMER_2018 + timedelta(days=1, seconds=19), **on_retired),
        client_job(6, "beam", CLOCKLESS, UNKNOWN, host=CLOCKLESS_FILTER_UNIT, exit_code=None),
        client_job(7, "beam", NEWEST, AUTUMN_2022, exit_code=None),
        client_job(8, "csc", NEWEST, AUTUMN_2022, exit_code=None),
    )
    production.write(
        "graphs",
        delivery(RETIRED, SUMMER_2018),
        delivery(CLOCKLESS, SUMMER_2018 + timedelta(days=200)),
        delivery(NEWEST, AUTUMN_2022, BUILDER_UNIT),
        delivery(DELIVERED_ALONE, AUTUMN_2022 + timedelta(hours=3), BUILDER_UNIT),
    )
    names = [RETIRED_FILTER_UNIT, f"{FILTER_UNIT}.cms"]
    production.write("hostnames", *({"name": name} for name in names))
    polls = [
        (1, True, SUMMER_2018 - timedelta(days=1)),
        (1, True, SUMMER_2018),
        (2, True, AUTUMN_2022 - timedelta(minutes=2)),
        (2, False, AUTUMN_2022 - timedelta(minutes=1)),
        (2, False, AUTUMN_2022),
    ]
    production.write(
        "hoststatuses",
        *({"host_id": host, "is_up": is_up, "created_at": at, "message": None} for host, is_up, at in polls),
    )
    playback = LegacyMirror(postgres, shared_settings.database(Cluster.PLAYBACK))
    playback.write(
        "runs",
        client_job(1, "beam", PLAYED, SUMMER_2018, cmssw_run=RETIRED, host=RETIRED_FILTER_UNIT),
        client_job(2, "beam", PLAYED_ELSEWHERE, SUMMER_2018, cmssw_run=256_936, host=RETIRED_FILTER_UNIT),
    )
    status, output = run_adopt(shared_environment)
    assert status == 0, output
    return shared_settings


@pytest.fixture
def app(adopted: Settings) -> Flask:
    """The application that shows what was imported."""
    return create_app(adopted)


class _Text(HTMLParser):
    """The text of a page, without its scripts and with single blanks."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._parts: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        """Collect a text."""
        self._parts.append(data)

    def __str__(self) -> str:
        return " ".join(" ".join(self._parts).split())


def text_of(client: FlaskClient, path: str) -> str:
    """The text of a page."""
    response = client.get(path)
    assert response.status_code == 200, response.text
    return str(_Text(response.text))


def api(client: FlaskClient, what: str) -> Any:
    """The response of the API for the production cluster."""
    return client.get(f"/api?what={what}&db=production").json


def live(client: FlaskClient, run: int, db: str = "production") -> str:
    return text_of(client, f"/live/run?db={db}&run={run}")


@pytest.mark.parametrize(("run", "lost"), [(RETIRED, 2), (CLOCKLESS, 1), (NEWEST, 2)])
def test_no_job_of_old_data_runs(client: FlaskClient, run: int, lost: int) -> None:
    shown = live(client, run)
    assert "Ended" in shown
    assert "Ongoing" not in shown
    assert f"Run {run} of the production cluster (run key pp_run, CMSSW_12_4_8_39145) has ended." in shown
    fragment = client.get(f"/live/run?db=production&run={run}").text
    assert fragment.count('data-state="lost"') == lost
    assert 'data-state="running"' not in fragment
    cell = "csc" if run != CLOCKLESS else "beam"
    assert "lost" in text_of(client, f"/timeline/cell?db=production&run={run}&client={cell}")
    statistics = text_of(client, f"/statistics/?db=production&from={run}&to={run}")
    assert "ongoing" not in statistics


def test_metrics_count_no_old_job_as_running(app: Flask) -> None:
    families = MirrorCollector(databases.of_app(app)).collect()
    jobs = next(family for family in families if family.name == "dqmsquare_jobs")
    counts = {
        sample.labels["state"]: sample.value
        for sample in jobs.samples
        if sample.labels["cluster"] == "production"
    }
    assert (counts["lost"], counts["running"], counts["stuck"]) == (2, 0, 0)


def test_it_takes_the_start_from_the_file_delivery(client: FlaskClient) -> None:
    shown = live(client, RETIRED)
    assert "2 h 0 min" in shown.replace("\u202f", " ")
    assert "It started on 03 Jul 2018 20:15:00 CEST." in shown
    assert "03 Jul 2018 20:15" in text_of(client, f"/timeline/?db=production&from={RETIRED}&to={RETIRED}")
    [line] = client.get(f"/statistics/runs.csv?db=production&from={RETIRED}&to={RETIRED}").text.splitlines()[
        1:
    ]
    assert "2018-07-03T18:15:00Z,2018-07-03T20:15:19Z" in line


def test_it_shows_no_start_that_is_unknown(client: FlaskClient) -> None:
    shown = live(client, WITHOUT_DELIVERY)
    assert "19 s" not in shown.replace("\u202f", " ")
    assert " after " not in shown
    assert "started" not in shown
    assert "The last report of a client is from 04 Jul 2018 22:15:19 CEST" in shown
    timeline = text_of(client, f"/timeline/?db=production&from={WITHOUT_DELIVERY}&to={WITHOUT_DELIVERY}")
    assert "until 04 Jul 2018 22:15" in timeline
    [run_line] = csv_lines(client, "/statistics/runs.csv", WITHOUT_DELIVERY)
    assert ",,2018-07-04T20:15:19Z," in run_line
    for job_line in csv_lines(client, "/timeline/jobs.csv", WITHOUT_DELIVERY):
        assert ",,2018-07-04T20:15" in job_line
    cell = text_of(client, f"/timeline/cell?db=production&run={WITHOUT_DELIVERY}&client=csc")
    assert cell.count("04 Jul 2018") == 1
    job_id = api(client, f"get_run&run={WITHOUT_DELIVERY}")[1][1][0][8]
    job_page = text_of(client, f"/job/{job_id}?db=production")
    assert "First report unknown" in job_page


def csv_lines(client: FlaskClient, path: str, run: int) -> list[str]:
    return client.get(f"{path}?db=production&from={run}&to={run}").text.splitlines()[1:]


def test_the_newest_run_is_one_with_jobs(client: FlaskClient) -> None:
    assert api(client, "get_info") == [RETIRED, NEWEST]
    assert f"Run {NEWEST} of" in text_of(client, "/live/run?db=production")
    neighbours = api(client, f"get_run&run={NEWEST}")[0]
    assert neighbours == [CLOCKLESS, None]


def test_a_run_known_by_its_file_delivery_is_shown_by_number(client: FlaskClient) -> None:
    shown = live(client, DELIVERED_ALONE)
    assert "No job yet" in shown or "No job" in shown
    assert api(client, f"get_graph&run={DELIVERED_ALONE}")[0] == DELIVERED_ALONE
    neighbours = api(client, f"get_run&run={DELIVERED_ALONE}")[0]
    assert neighbours == [NEWEST, None]


def test_it_shows_the_last_known_state_of_each_machine(client: FlaskClient) -> None:
    rows = client.get("/api?what=get_cluster_status&cluster=production").json
    assert rows == [
        ["dqmfu-c2b03-..", False, None, AUTUMN_2022.timestamp()],
        ["fu..01·1", True, None, SUMMER_2018.timestamp()],
    ]
    cluster = text_of(client, "/cluster/?db=production")
    assert "last known state" in cluster
    assert "15 Sep 2022 16:00:00 CEST" in cluster
    # Years ago: no alert of today.
    assert "data-down" not in client.get("/live/freshness?db=production").text


def test_a_playback_run_says_which_run_it_played(client: FlaskClient) -> None:
    page = client.get(f"/live/run?db=playback&run={PLAYED}").text
    assert f"Read run {RETIRED}" in live(client, PLAYED, "playback")
    assert f'href="/?db=production&amp;run={RETIRED}"' in page
    elsewhere = client.get(f"/live/run?db=playback&run={PLAYED_ELSEWHERE}").text
    assert "256936" in elsewhere
    assert "db=production&amp;run=256936" not in elsewhere
    cell = client.get(f"/timeline/cell?db=playback&run={PLAYED}&client=beam").text
    assert f'href="/?db=production&amp;run={RETIRED}"' in cell
