"""The timeline over HTTP: filter, more rows, reload after a change of the columns, jobs of a cell."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster, Settings
from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791
RUNS = 45
NOW = datetime.now(UTC)


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """45 runs of one client."""
    mirrored = MirroredCluster(settings)
    runs = range(RUN - RUNS + 1, RUN + 1)
    mirrored.write(mirrored.filter_units[0], *(job(run, "beam", at=NOW, exit_code=0) for run in runs))
    return mirrored


def shown_runs(html: str) -> list[int]:
    return [int(run) for run in re.findall(r'<th scope="row"><a [^>]*>(\d+)</a>', html)]


def next_rows(html: str) -> str:
    """The URL of the next rows."""
    [url] = re.findall(r'class="load-more" hx-get="([^"]+)"', html)
    return str(url).replace("&amp;", "&")


def test_it_shows_a_single_client(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    mirrored.write(unit, job(RUN, "dt", exit_code=1), job(RUN - 2, "dt", exit_code=0))
    page = client.get("/timeline/?client=dt").text
    assert shown_runs(page) == [RUN, RUN - 2]
    assert re.findall(r'class="client-head" title="(\w+)"', page) == ["dt"]
    assert 'name="client" maxlength="128" value="dt"' in page
    # The filter for crashes applies to the jobs of this client.
    assert shown_runs(client.get("/timeline/?client=dt&bad_only=1").text) == [RUN]
    assert shown_runs(client.get("/timeline/?client=beam&bad_only=1").text) == []
    table = client.get("/timeline/jobs.csv?client=dt").text.splitlines()[1:]
    assert [line.split(",")[3] for line in table] == ["dt", "dt"]


@pytest.mark.usefixtures("mirrored")
def test_it_continues_after_the_last_row_of_the_page(client: FlaskClient) -> None:
    page = client.get("/timeline/").text
    assert shown_runs(page) == list(range(RUN, RUN - 40, -1))
    rest = client.get(next_rows(page)).text
    assert shown_runs(rest) == list(range(RUN - 40, RUN - RUNS, -1))
    assert "load-more" not in rest


@pytest.mark.long
def test_it_continues_to_the_first_run_of_the_range(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(7, "beam", at=NOW, exit_code=0))
    for first in (0, 7):
        rest = client.get(next_rows(client.get(f"/timeline/?from={first}").text)).text
        assert shown_runs(rest)[-1] == 7


def updates(html: str) -> str:
    """The URL of updates of the first rows."""
    [url] = re.findall(r'id="newest-runs" [^>]*hx-get="([^"]+)"', html)
    return str(url).replace("&amp;", "&")


def test_it_updates_its_first_rows(client: FlaskClient, mirrored: MirroredCluster) -> None:
    page = client.get("/timeline/").text
    mirrored.write(
        mirrored.filter_units[0], job(RUN + 1, "beam", at=NOW), job(RUN, "beam", at=NOW, exit_code=1)
    )
    newest = client.get(updates(page)).text
    assert shown_runs(newest) == list(range(RUN + 1, RUN - 40, -1))
    assert re.findall(r"state-\w+", newest)[:3] == ["state-running", "state-crashed", "state-finished"]
    assert f'data-run-count="{RUNS + 1}"' in newest


def test_it_stays_within_a_range_of_runs(client: FlaskClient, mirrored: MirroredCluster) -> None:
    page = client.get(f"/timeline/?from={RUN - 1}&to={RUN}").text
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam", at=NOW))
    assert shown_runs(client.get(updates(page)).text) == [RUN, RUN - 1]


def test_it_shows_the_first_run_of_an_empty_cluster(client: FlaskClient, settings: Settings) -> None:
    page = client.get("/timeline/?db=playback").text
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    playback.write(playback.filter_units[0], job(7, "beam"))
    assert client.get(updates(page)).headers["HX-Refresh"] == "true"


def test_it_reloads_the_page_after_a_client_was_added(client: FlaskClient, mirrored: MirroredCluster) -> None:
    page = client.get("/timeline/").text
    mirrored.write(mirrored.filter_units[0], job(RUN, "aardvark"))
    for fragment in (next_rows(page), updates(page)):
        response = client.get(fragment)
        assert response.headers["HX-Refresh"] == "true"
        assert not response.data


@pytest.mark.long
@pytest.mark.usefixtures("mirrored")
def test_it_accepts_from_and_to_in_either_order(client: FlaskClient) -> None:
    for query in (f"from={RUN - 2}&to={RUN}", f"from={RUN}&to={RUN - 2}"):
        assert shown_runs(client.get(f"/timeline/?{query}").text) == [RUN, RUN - 1, RUN - 2]


def test_it_filters_runs_by_crashes_and_by_lumisections(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    hour_ago = NOW - timedelta(hours=1)
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN + 1, "beam", at=hour_ago, exit_code=-9, lumisection=0),
        job(RUN + 2, "beam", at=hour_ago, lumisection=0),
    )
    assert shown_runs(client.get("/timeline/?bad_only=1").text) == [RUN + 1]
    assert shown_runs(client.get("/timeline/?ls=1").text)[0] == RUN


def test_it_shows_the_jobs_of_a_cell(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam", at=NOW, exit_code=-11))
    jobs = client.get(f"/timeline/cell?run={RUN}&client=beam").text
    assert "-11 SIGSEGV" in jobs
    assert jobs.count("<li>") == 2
    assert client.get(f"/timeline/cell?run={RUN}&client=csc").status_code == 404
    assert client.get("/timeline/cell?run=7&client=beam").status_code == 404
    assert client.get("/timeline/cell?client=beam").status_code == 400


def test_it_says_that_there_is_no_run(client: FlaskClient) -> None:
    for page in ("/timeline/", "/statistics/"):
        assert "No run from 5 to 9 matches" in client.get(f"{page}?from=5&to=9").text
        assert "No run of the playback cluster is mirrored yet" in client.get(f"{page}?db=playback").text
