"""The efficiency report: shares, lost lumisections, trends, and what is worse since the last release."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from dqm2.records import JobRecord
from dqmsquare_cfg import Settings
from storage.efficiency_reader import ClientEfficiency, Grouping
from storage.run_queries import RunFilter
from tests.grabber_runner import reader
from tests.mirrored_cluster import MirroredCluster, job
from tests.test_pages_shift_report import copied, rows_of, shown
from web.pages.reports.efficiency import percent

RUN = 358_788
OLD, NEW = "14_0_1", "14_0_2"
START = datetime(2026, 4, 30, 20, tzinfo=UTC)
REPORT = "/report/efficiency?db=production&from=1"
LIMITS = (
    "runs finished by 5 percentage points, availability by 1 percentage point, crashes per run by 0.05, "
    "peak memory by 10% or events/s by 20%, in at least 3 runs of both releases"
)


def ended(run: int, client: str = "csc", *, exit_code: int | None = 0, **fields: Any) -> JobRecord:
    """A job of an hour, of 100 LS."""
    start = START + timedelta(hours=2 * (run - RUN))
    record = job(run, client, at=start + timedelta(hours=1), exit_code=exit_code, cmssw_version=OLD)
    record = replace(record, started_at=start, lumisection=100, events_total=3600, rss_kb=1_000_000)
    return replace(record, **fields)


def write(mirrored: MirroredCluster, *jobs: JobRecord) -> None:
    mirrored.write(mirrored.filter_units[0], *jobs)
    mirrored.beat()


def efficiency(settings: Settings, grouping: Grouping = Grouping.KEY, **given: Any) -> list[ClientEfficiency]:
    return reader(settings).efficiency.of_clients(RunFilter(1, RUN + 999, **given), grouping)


def test_it_counts_runs_jobs_and_crashes(settings: Settings, mirrored: MirroredCluster) -> None:
    write(
        mirrored,
        ended(RUN),
        ended(RUN + 1, exit_code=-11, lumisection=40),
        ended(RUN + 1, lumisection=100),
        ended(RUN + 2, exit_code=-11, lumisection=40),
        ended(RUN + 2, "dt"),
    )
    csc, dt = efficiency(settings)
    assert (csc.name, csc.runs, csc.finished, csc.jobs, csc.crashes, csc.restarts) == ("csc", 3, 2, 4, 2, 1)
    assert (csc.lumisections, csc.lost) == (300, 60)
    assert csc.availability == pytest.approx(0.8)
    assert (dt.finished_share, dt.availability) == (1.0, 1.0)
    assert csc.events_per_s == pytest.approx(1.0)
    assert csc.peak_rss_kb == 1_000_000


def test_it_takes_no_rate_from_a_clock_that_was_set_back(
    settings: Settings, mirrored: MirroredCluster
) -> None:
    write(mirrored, ended(RUN, started_at=START + timedelta(hours=9)), ended(RUN, "dt"), ended(RUN, "dt"))
    csc, dt = efficiency(settings)
    assert (csc.events_per_s, csc.finished) == (None, 1)
    assert dt.events_per_s == pytest.approx(1.0)


def test_it_leaves_out_jobs_that_go_on_and_counts_lost_ones(
    settings: Settings, mirrored: MirroredCluster
) -> None:
    write(mirrored, job(RUN, "csc"), ended(RUN, "dt"))
    assert [each.name for each in efficiency(settings)] == ["dt"]
    write(mirrored, ended(RUN + 1, exit_code=None, lumisection=30), ended(RUN + 1, "dt"))
    [csc, dt] = efficiency(settings)
    assert (csc.runs, csc.finished, csc.lost) == (1, 0, 70)
    assert dt.runs == 2


def test_a_client_without_input_loses_nothing(settings: Settings, mirrored: MirroredCluster) -> None:
    write(mirrored, ended(RUN, lumisection=0), ended(RUN, "dt", lumisection=None), ended(RUN, "rpc"))
    csc, dt, rpc = efficiency(settings)
    assert csc.availability is None
    assert dt.availability is None
    assert rpc.availability == 1.0
    assert csc.finished_share == 1.0


def test_it_does_not_guess_what_a_client_lost_that_saw_no_lumisection(
    client: FlaskClient, settings: Settings, mirrored: MirroredCluster
) -> None:
    write(
        mirrored,
        ended(RUN, "rpc"),
        ended(RUN, "csc", exit_code=-11, lumisection=0),
        ended(RUN, "dt", exit_code=None, lumisection=None),
        ended(RUN, "hcal", exit_code=-11, lumisection=0),
        ended(RUN, "hcal", lumisection=0),
    )
    figures = {
        each.name: (each.lumisections, each.lost, each.unknown_lumisections) for each in efficiency(settings)
    }
    assert figures == {
        "rpc": (100, 0, 0),
        "csc": (0, 0, 100),
        "dt": (0, 0, 100),
        "hcal": (0, 0, 0),
    }
    [row] = [row for row in rows_of(client, "clients", REPORT) if row["client"] == "csc"]
    assert (row["lost_lumisections"], row["unknown_lumisections"]) == ("0", "100")


@pytest.mark.parametrize(
    ("share", "text"),
    [(1, "100.0%"), (0.9999, "99.9%"), (0.5, "50.0%"), (0.0001, "0.1%"), (0, "0.0%")],
)
def test_its_shares_have_one_decimal(share: float, text: str) -> None:
    assert percent(share) == text


def test_it_filters_clients_but_not_their_lumisections(settings: Settings, mirrored: MirroredCluster) -> None:
    write(mirrored, ended(RUN, exit_code=-11, lumisection=25), ended(RUN, "dt"), ended(RUN + 1, "dt"))
    [csc] = efficiency(settings, clients=("csc",))
    assert (csc.lumisections, csc.lost) == (100, 75)
    assert efficiency(settings, run_keys=("hi_run",)) == []
    assert [each.runs for each in efficiency(settings, cmssw_versions=(OLD,))] == [1, 2]


def test_it_groups_by_month_of_the_experiment_release_and_key(
    client: FlaskClient, settings: Settings, mirrored: MirroredCluster
) -> None:
    # 22:00 and 24:00 in Geneva.
    write(mirrored, ended(RUN), ended(RUN + 1, cmssw_version=NEW, run_key="hi_run"))
    assert [each.period for each in efficiency(settings, Grouping.MONTH)] == ["2026-04", "2026-05"]
    assert [each.period for each in efficiency(settings, Grouping.RELEASE)] == [OLD, NEW]
    assert [each.period for each in efficiency(settings, Grouping.KEY)] == ["pp_run", "hi_run"]
    for group, periods in (
        ("month", ("2026-04", "2026-05")),
        ("release", (OLD, NEW)),
        ("key", ("pp_run", "hi_run")),
    ):
        [row] = rows_of(client, "finished", f"{REPORT}&group={group}")
        assert tuple(row) == ("client", *periods)
        assert tuple(row.values()) == ("csc", "1.0", "1.0")


def test_it_lists_what_is_worse_since_the_last_release(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    runs = range(6)
    releases = [OLD if number < 3 else NEW for number in runs]
    records = [
        record
        for number, release in zip(runs, releases, strict=True)
        for record in (
            ended(RUN + number, cmssw_version=release),
            ended(
                RUN + number, "dt", cmssw_version=release, rss_kb=1_000_000 if release == OLD else 1_300_000
            ),
            ended(
                RUN + number,
                "rpc",
                cmssw_version=release,
                exit_code=0 if number != 4 else -11,
                lumisection=100 if number != 4 else 50,
            ),
        )
    ]
    write(mirrored, *records)
    worse = [(row["client"], row["figure"]) for row in rows_of(client, "worse", REPORT)]
    assert sorted(worse) == [
        ("dt", "peak memory"),
        ("rpc", "availability"),
        ("rpc", "crashes per run"),
        ("rpc", "runs finished"),
    ]
    assert worse[0][0] == "rpc"
    text = shown(client, REPORT)
    assert f"Worse in {NEW} than in {OLD}" in text
    assert "4 figures worse since CMSSW_14_0_1" in text
    assert f"Listed are changes of {LIMITS}." in text
    assert text.index("Worse in") < text.index("Runs finished by month")
    [trend] = [row for row in rows_of(client, "peak_rss_kb", REPORT) if row["client"] == "dt"]
    assert (trend[OLD], trend[NEW]) == ("1000000.0", "1300000.0")


def test_a_release_that_is_back_is_the_newest(client: FlaskClient, mirrored: MirroredCluster) -> None:
    releases = (OLD, OLD, OLD, NEW, NEW, NEW, OLD)
    write(mirrored, *(ended(RUN + number, cmssw_version=each) for number, each in enumerate(releases)))
    assert "nothing is worse since CMSSW_14_0_2" in shown(client, REPORT)


def test_it_judges_no_release_with_few_runs(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write(mirrored, ended(RUN), ended(RUN + 1, cmssw_version=NEW, exit_code=-11))
    assert rows_of(client, "worse", REPORT) == []
    assert f"Nothing is worse by these limits: {LIMITS}." in shown(client, REPORT)


@pytest.mark.long
def test_it_shows_shares_as_a_heat_map(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write(
        mirrored,
        ended(RUN),
        ended(RUN, "dt", exit_code=-11),
        ended(RUN, "rpc"),
        ended(RUN + 1, "rpc", exit_code=9),
    )
    page = client.get(f"{REPORT}&group=key").text
    for heat, share in ((4, "100.0%"), (0, "0.0%"), (1, "50.0%")):
        assert f'<span class="heat heat-{heat}">' in page
        assert f">{share}</span>" in page
    assert "1 of 2 runs, 1 crash" in page


def test_it_bounds_what_it_counts(
    client: FlaskClient, mirrored: MirroredCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.efficiency_reader.MAX_RUNS", 2)
    write(mirrored, *(ended(RUN + number) for number in range(3)))
    [row] = rows_of(client, "clients", REPORT)
    assert row["runs"] == "2"
    text = shown(client, REPORT)
    assert "Only the newest" in text
    assert f"Runs {RUN + 1} to {RUN + 2}." in text


def test_it_is_complete_without_anything(without_data: FlaskClient) -> None:
    text = shown(without_data, REPORT)
    assert "0 runs; no client has ended in any of them." in text
    assert "Nothing to compare: there are fewer than two releases." in text


@pytest.mark.parametrize("query", ["group=week", "group=month&group=key", "from=x", "db=x"])
def test_it_refuses_invalid_parameters(without_data: FlaskClient, query: str) -> None:
    assert without_data.get(f"/report/efficiency?{query}").status_code == 400


def test_it_has_texts_to_copy(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write(mirrored, ended(RUN, exit_code=-11, lumisection=75), ended(RUN, "dt"))
    assert "| [csc](/timeline/?db=production&client=csc) | 1 | 0.0% | 75.0% | 1 | 0 | 25 | 0 |" in copied(
        client, "markdown", REPORT
    )
    assert (
        "- csc, 1 run, 0.0% finished, 75.0% available, 1 crash, 0 restarts, 25 LS lost, 0 LS unknown"
    ) in copied(client, "text", REPORT)


@pytest.mark.long
def test_its_address_is_one_in_markdown_whatever_the_filter(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    write(mirrored, ended(RUN))
    report = copied(client, "markdown", f"{REPORT}&run_key=a)(b")
    assert report.partition("\n")[0].endswith("run_key=a%29%28b&group=month)")


@pytest.mark.long
def test_it_is_linked_from_the_runs_with_their_filter(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write(mirrored, ended(RUN))
    for path in ("/statistics/", "/timeline/"):
        assert "/report/efficiency?db=production&amp;from=7" in client.get(f"{path}?from=7").text
