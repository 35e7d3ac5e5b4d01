"""The statistics of a run, on the page and as CSV."""

import codecs
import csv
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import zstandard
from flask.testing import FlaskClient

import db
from dqm2.records import LUMISECTION_S, Stream
from dqmsquare_cfg import Cluster, Settings
from storage.delivery_backfill import summarize_outdated
from tests.grabber_runner import rows
from tests.mirrored_cluster import MirroredCluster, delivery, job

RUN = 358_791
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """A run of two jobs, one of them crashed, and three streams, of which the statistics use two."""
    mirrored = MirroredCluster(settings)
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "beam", at=START, exit_code=0, events_total=10, events_rate=2.5),
        job(RUN, "csc", at=START, exit_code=-9, events_total=30, events_rate=1.5),
    )
    streams = (
        stream("streamDQM", [2, 4]),
        stream("streamDQM·2", [6, 8]),
        stream("streamDQMCalibration", [500, 500]),
    )
    mirrored.write(mirrored.builder_unit, replace(delivery(RUN, START, 2), streams=streams))
    return mirrored


def stream(name: str, delays_s: list[int]) -> Stream:
    times = [
        round((START.timestamp() + ls * LUMISECTION_S + delay) * 1000)
        for ls, delay in enumerate(delays_s, start=1)
    ]
    return Stream(name, [1, 2], times, times, [100, -1], [200, -1], [1000, -1])


def lines(client: FlaskClient, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"/statistics/runs.csv?{query}")
    assert answer.mimetype == "text/csv"
    return list(csv.DictReader(answer.data.decode("utf-8-sig").splitlines()))


@pytest.mark.usefixtures("mirrored")
def test_it_summarizes_a_run(client: FlaskClient) -> None:
    [line] = lines(client)
    assert float(line.pop("delay_mean_s")) == pytest.approx(5, abs=0.01)
    assert float(line.pop("delay_deviation_s")) == pytest.approx(5**0.5, abs=0.01)
    assert line == {
        "run": "358791",
        "run_key": "pp_run",
        "cmssw_version": "12_4_8_39145_39162",
        "started_at": "2026-11-20T12:00:00Z",
        "stopped_at": "2026-11-20T12:00:00Z",
        "last_lumisection": "2",
        "events_accepted": "300",
        "size_bytes": "3000",
        "jobs": "2",
        "crashed": "1",
        "crashed_clients": "1",
        "most_events": "30",
        "highest_rate": "2.5",
    }
    assert "358791" in client.get("/statistics/").text


def test_it_leaves_unknown_values_empty(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam", run_key=None, lumisection=7))
    newest, _ = lines(client)
    assert newest["run"] == str(RUN + 1)
    assert [newest[name] for name in ("run_key", "stopped_at", "delay_mean_s", "size_bytes")] == [""] * 4
    assert newest["last_lumisection"] == "7"


def test_it_lists_the_runs_that_match_the_filter(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"), job(RUN + 2, "beam", run_key="hi_run"))
    assert [line["run"] for line in lines(client, f"from={RUN + 1}&to={RUN}")] == ["358792", "358791"]
    assert [line["run"] for line in lines(client, "bad_only=1")] == ["358791"]
    assert [line["run"] for line in lines(client, "run_key=hi_run")] == ["358793"]
    assert client.get("/statistics/?from=x").status_code == 400
    assert "No run from" in client.get("/statistics/?from=5&to=9").text


@pytest.mark.long
def test_it_shows_no_stop_time_of_an_ongoing_run(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
    newest, _ = lines(client)
    assert (newest["run"], newest["stopped_at"]) == (str(RUN + 1), "")
    assert 'data-head="Stop">ongoing<' in client.get("/statistics/").text


def test_it_updates_its_rows(client: FlaskClient, mirrored: MirroredCluster) -> None:
    [url] = re.findall(r'id="statistics" [^>]*hx-get="([^"]+)"', client.get("/statistics/").text)
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
    assert f">{RUN + 1}</a>" in client.get(url.replace("&amp;", "&")).text


def test_spreadsheets_read_its_csv_as_utf_8_with_numbers(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    mirrored.write(
        mirrored.filter_units[0], job(RUN + 1, "beam", run_key="collisions – 13·6 TeV²", exit_code=-11)
    )
    for path in ("/statistics/runs.csv", "/timeline/jobs.csv"):
        answer = client.get(f"{path}?from={RUN + 1}&to={RUN + 1}")
        assert answer.content_type == "text/csv; charset=utf-8"
        assert answer.data.startswith(codecs.BOM_UTF8)
        [row] = csv.DictReader(answer.data.decode("utf-8-sig").splitlines())
        assert row["run_key"] == "collisions – 13·6 TeV²"
        assert int(row["run"]) == RUN + 1
    assert int(row["exit_code"]) == -11


def test_it_escapes_spreadsheet_formulas(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam", run_key="=1+1"))
    assert lines(client, f"from={RUN + 1}&to={RUN + 1}")[0]["run_key"] == "'=1+1"


FIGURES = ("delay_mean_s", "delay_deviation_s", "last_lumisection", "events_accepted", "size_bytes")


def figures(settings: Settings) -> dict[str, Any]:
    """The figures of the delivery as they are stored."""
    [row] = rows(settings, db.deliveries)
    return {name: row[name] for name in FIGURES}


def forget_statistics(settings: Settings, **values: Any) -> None:
    """Make the delivery as it is when a program without stored statistics has written it."""
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        connection.execute(
            sa.update(db.deliveries).values(**dict.fromkeys(FIGURES), statistics_revision=None, **values)
        )
    database.dispose()


def fill_statistics(settings: Settings) -> list[int]:
    """The numbers of deliveries that were summarized, by batch."""
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    batches = list(summarize_outdated(database))
    database.dispose()
    return batches


@pytest.mark.usefixtures("mirrored")
def test_it_stores_the_figures_of_a_delivery_with_it(client: FlaskClient, settings: Settings) -> None:
    stored = figures(settings)
    assert stored["delay_mean_s"] == pytest.approx(5, abs=0.01)
    shown = lines(client)[0]
    assert {name: float(shown[name]) for name in FIGURES} == stored


@pytest.mark.usefixtures("mirrored")
def test_it_fills_in_the_figures_of_old_deliveries(client: FlaskClient, settings: Settings) -> None:
    stored, shown = figures(settings), lines(client)[0]
    forget_statistics(settings)
    assert lines(client)[0] == shown
    assert fill_statistics(settings) == [1]
    assert figures(settings) == stored
    assert fill_statistics(settings) == []


@pytest.mark.usefixtures("mirrored")
def test_it_notices_that_an_older_program_has_written_a_delivery(
    client: FlaskClient, settings: Settings
) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        older = {"revision": db.deliveries.c.revision + 1, "global_start": START - timedelta(seconds=10)}
        connection.execute(sa.update(db.deliveries).values(older))
    database.dispose()
    assert float(lines(client)[0]["delay_mean_s"]) == pytest.approx(15, abs=0.01)
    assert fill_statistics(settings) == [1]
    assert figures(settings)["delay_mean_s"] == pytest.approx(15, abs=0.01)


@pytest.mark.usefixtures("mirrored")
@pytest.mark.parametrize("is_compressed", [True, False])
def test_it_passes_over_a_damaged_delivery(settings: Settings, *, is_compressed: bool) -> None:
    # Only the first column of the stream is complete.
    names = b'[["streamDQM", 2]]'
    raw = len(names).to_bytes(4, "little") + names + bytes(16)
    forget_statistics(settings, streams=zstandard.compress(raw) if is_compressed else raw)
    assert fill_statistics(settings) == [1]
    assert figures(settings) == dict.fromkeys(FIGURES)
