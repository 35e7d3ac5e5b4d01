"""The playback report: its reference, its judgements, and its text for a pull request."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from benchmarks.crash_corpus import CRASH_LOGS, CrashLog
from dqm2.records import (
    DocumentVersion,
    EventSeries,
    InputStatus,
    InputStatuses,
    JobRecord,
    MemorySeries,
    PlaybackRecord,
    SimulatorState,
)
from dqmsquare_cfg import Cluster, Settings
from tests.mirrored_cluster import MirroredCluster, crashed_job, job
from tests.test_pages_shift_report import copied, rows_of, shown
from web.pages.external_links import pull_requests
from web.pages.reports.playback_comparison import GROWTH, PEAK_MEMORY

RUN, SOURCE = 500_010, 358_788
OLD, NEW = "14_0_9_patch2_45489", "14_0_9_patch2_45489_45500"
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
LS, LS_S = 100, 23
REPORT = f"/report/playback?run={RUN}"


@pytest.fixture
def playback(settings: Settings) -> MirroredCluster:
    """The playback cluster, in which nothing has been mirrored."""
    return MirroredCluster(settings, Cluster.PLAYBACK)


def played(run: int, client: str = "csc", *, growth_kb: int = 0, **fields: Any) -> JobRecord:
    """A job of 100 LS with series; its memory grows by `growth_kb` per LS."""
    end = START + timedelta(seconds=LS * LS_S)
    at_s = [round(START.timestamp()) + LS_S * ls for ls in range(1, LS + 1)]
    sections = range(1, LS + 1)
    rss = [1_000_000 + growth_kb * ls for ls in sections]
    record = job(run, client, at=end, run_key="pp_run", cmssw_version=OLD, cmssw_run=SOURCE, exit_code=0)
    return replace(
        record,
        started_at=START,
        lumisection=LS,
        events_total=100 * LS,
        rss_kb=rss[-1],
        memory=MemorySeries(at_s, rss, rss),
        events=EventSeries(sections, at_s, [100] * LS, [23_310] * LS),
        input_statuses=InputStatuses(sections, [InputStatus.OK] * LS),
        **fields,
    )


def crashing(run: int, log: CrashLog, client: str = "csc") -> JobRecord:
    """The same job, but it crashed at its end."""
    crashed = crashed_job(run, log, client=client)
    end = {name: getattr(crashed, name) for name in ("exit_code", "log", "crash", "errors")}
    return replace(played(run, client), **end)


def write(playback: MirroredCluster, *jobs: JobRecord, source: int | None = SOURCE) -> None:
    """Write jobs of a run with its simulator."""
    run = jobs[0].run
    version = DocumentVersion(uuid4(), 0, START)
    simulator = PlaybackRecord(version, run, SimulatorState.END_OF_RUN, LS, LS, jobs[0].run_key, source)
    playback.write(playback.filter_units[0], *jobs)
    playback.write(playback.builder_unit, simulator)
    playback.beat()


def reference(client: FlaskClient, path: str = REPORT) -> list[str]:
    """The run of the reference, if there is one."""
    return [row["run"] for row in rows_of(client, "runs", path) if row["role"] == "reference"]


def verdict(client: FlaskClient, name: str = "csc", path: str = REPORT) -> str:
    """The verdict on a client."""
    [row] = [row for row in rows_of(client, "clients", path) if row["client"] == name]
    return row["verdict"]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("12_4_8_39145_39162", (39145, 39162)),
        ("14_0_9_patch2_MULTIARCHS", ()),
        ("14_0_9_patch2_45489", (45489,)),
        ("15_1_X_2026-05-01-2300", ()),
        ("15_1_X_2026-05-01-2300_48001-48002", (48001, 48002)),
        ("15_0_6_48001_test", (48001,)),
        ("15_0_0_ROOT632_X", ()),
        ("12_5_0_pre3_39145_39145", (39145,)),
        ("16_0_0_cpu_123456", (123456,)),
        ("", ()),
    ],
)
def test_it_knows_the_pull_requests_of_a_version(version: str, expected: tuple[int, ...]) -> None:
    assert pull_requests(version) == expected


def test_it_compares_with_the_last_run_of_the_same_source_in_another_release(
    client: FlaskClient, playback: MirroredCluster
) -> None:
    write(playback, played(RUN - 5))
    write(playback, played(RUN - 4), source=SOURCE + 1)
    write(playback, replace(played(RUN - 3), run_key="cosmic_run"))
    write(playback, replace(played(RUN - 2), cmssw_version=NEW))
    write(playback, replace(played(RUN - 1), lumisection=0))
    write(playback, replace(played(RUN), cmssw_version=NEW))
    write(playback, played(RUN + 1))
    assert reference(client) == [str(RUN - 5)]


def test_it_compares_with_the_last_good_run_otherwise(client: FlaskClient, playback: MirroredCluster) -> None:
    write(playback, played(RUN - 3), source=SOURCE + 1)
    write(playback, crashing(RUN - 2, CRASH_LOGS[0]), source=SOURCE + 1)
    write(playback, replace(played(RUN - 1), run_key="cosmic_run"))
    write(playback, played(RUN))
    assert reference(client) == [str(RUN - 3)]


def test_it_takes_another_reference(client: FlaskClient, playback: MirroredCluster) -> None:
    for run in (RUN - 2, RUN - 1, RUN):
        write(playback, replace(played(run), cmssw_version=NEW if run == RUN else OLD))
    assert reference(client) == [str(RUN - 1)]
    assert reference(client, f"{REPORT}&reference={RUN - 2}") == [str(RUN - 2)]


@pytest.mark.long
def test_it_notes_that_the_reference_is_of_the_same_release(
    client: FlaskClient, playback: MirroredCluster
) -> None:
    write(playback, played(RUN - 1), source=SOURCE + 1)
    write(playback, played(RUN))
    notes = "Note: the reference played another run, the reference has the same release\n"
    assert notes in copied(client, "text", REPORT)
    write(playback, replace(played(RUN + 1), cmssw_version=NEW))
    assert "Note: " not in copied(client, "text", f"/report/playback?run={RUN + 1}")


@pytest.mark.long
def test_it_takes_no_rate_from_a_clock_that_was_set_back(
    client: FlaskClient, playback: MirroredCluster
) -> None:
    after_end = START + timedelta(days=1)
    write(playback, replace(played(RUN), started_at=after_end), played(RUN, "dt"))
    rows = {row["client"]: row for row in rows_of(client, "clients", REPORT)}
    assert (rows["csc"]["events_per_ls"], rows["csc"]["events_per_s"]) == ("100.0", "")
    # Of several jobs, the others tell.
    write(playback, played(RUN))
    rows = {row["client"]: row for row in rows_of(client, "clients", REPORT)}
    assert rows["csc"]["events_per_s"] == rows["dt"]["events_per_s"] == "4.348"


def test_it_shows_the_newest_run_by_default_and_without_a_reference(
    client: FlaskClient, playback: MirroredCluster
) -> None:
    write(playback, played(RUN))
    text = shown(client, "/report/playback")
    assert f"run {RUN} " in text
    assert "There is no earlier run with this run key" in text
    assert "without a reference" in text
    assert verdict(client) == "good"


@pytest.mark.parametrize("query", [f"?run={RUN + 9}", "", f"?run={RUN}&reference=1", "?run=7&table=runs"])
def test_it_says_that_there_is_no_such_run(
    client: FlaskClient, playback: MirroredCluster, query: str
) -> None:
    if "reference" in query:
        write(playback, played(RUN))
    assert client.get(f"/report/playback{query}").status_code == 404
    assert client.get(f"/report/playback.csv{query}").status_code == 404


@pytest.mark.parametrize("query", ["run=x", f"run={RUN}&reference=x", f"run={RUN}&reference={RUN}"])
def test_it_refuses_other_runs(client: FlaskClient, playback: MirroredCluster, query: str) -> None:
    write(playback, played(RUN))
    assert client.get(f"/report/playback?{query}").status_code == 400


ONE, OTHER = CRASH_LOGS[:2]


# Jobs of the reference and of the run, the verdict, and a word of the report.
JUDGED: list[tuple[list[JobRecord], list[JobRecord], str, str]] = [
    ([played(RUN - 1)], [crashing(RUN, ONE)], "bad", "crashes"),
    ([crashing(RUN - 1, ONE)], [crashing(RUN, ONE)], "warning", "crashes as in the reference"),
    (
        [crashing(RUN - 1, ONE)],
        [crashing(RUN, OTHER)],
        "bad",
        "crashes in another way than in the reference",
    ),
    ([crashing(RUN - 1, ONE)], [played(RUN)], "good", "no longer crashes"),
    ([played(RUN - 1)], [played(RUN, "dt")], "bad", "has no job"),
    ([played(RUN - 1, "dt")], [played(RUN), played(RUN, "dt")], "good", "not in the reference"),
    ([played(RUN - 1)], [replace(played(RUN), exit_code=None)], "bad", "is lost"),
    ([played(RUN - 1)], [played(RUN)], "good", "good"),
    ([played(RUN - 1)], [replace(played(RUN), events_total=94 * LS)], "warning", "events per LS"),
    ([played(RUN - 1)], [replace(played(RUN), events_total=50 * LS)], "bad", "events per LS; events/s"),
    ([played(RUN - 1)], [replace(played(RUN), rss_kb=1_150_000)], "warning", "peak memory"),
    ([played(RUN - 1)], [played(RUN, growth_kb=400)], "warning", "growth of memory"),
    ([played(RUN - 1)], [played(RUN, growth_kb=2000)], "bad", "growth of memory"),
    ([played(RUN - 1, growth_kb=2000)], [played(RUN)], "good", "good"),
]


def test_it_judges_a_client(client: FlaskClient, playback: MirroredCluster) -> None:
    for number, (before, after, expected, remark) in enumerate(JUDGED):
        run = RUN + 10 * number
        for release, records in ((OLD, before), (NEW, after)):
            shifted = (replace(record, run=record.run - RUN + run) for record in records)
            write(playback, *(replace(record, cmssw_version=release, run_key="pp_run") for record in shifted))
        path = f"/report/playback?run={run}&reference={run - 1}"
        assert verdict(client, path=path) == expected, remark
        text = copied(client, "text", path)
        assert f", against run {run - 1} " in text
        assert remark in text


@pytest.mark.long
def test_it_takes_two_tags_with_one_name_for_one_client(
    client: FlaskClient, playback: MirroredCluster
) -> None:
    bare = replace(played(RUN), client="csc", started_at=START + timedelta(minutes=1))
    write(playback, replace(played(RUN - 1), client="csc"))
    # By their starts, jobs of the two tags alternate.
    later = replace(played(RUN), started_at=START + timedelta(minutes=2))
    write(playback, *(replace(each, cmssw_version=NEW) for each in (crashing(RUN, ONE), bare, later)))
    [row] = rows_of(client, "clients", f"{REPORT}&reference={RUN - 1}")
    assert (row["client"], row["verdict"], row["crashes"]) == ("csc", "bad", "1")
    assert [row["clients"] for row in rows_of(client, "runs", REPORT)] == ["1", "1"]


def test_it_judges_time_per_ls_and_skipped_ls(client: FlaskClient, playback: MirroredCluster) -> None:
    write(playback, played(RUN - 1), played(RUN - 1, "dt"))
    slow = played(RUN)
    skipping = played(RUN, "dt")
    statuses = [InputStatus.TIMEOUT] * 6 + [InputStatus.OK] * (LS - 6)
    write(
        playback,
        replace(slow, cmssw_version=NEW, events=replace(slow.events, duration_ms=[25_000] * LS)),
        replace(skipping, cmssw_version=NEW, input_statuses=InputStatuses(range(1, LS + 1), statuses)),
    )
    assert verdict(client, "csc") == "warning"
    assert verdict(client, "dt") == "bad"
    rows = {row["client"]: row for row in rows_of(client, "clients", REPORT)}
    assert rows["csc"]["ls_duration_ms"] == "25000.0"
    assert rows["dt"]["skipped"] == "6"


def test_it_measures_the_growth_of_memory(client: FlaskClient, playback: MirroredCluster) -> None:
    write(playback, played(RUN, growth_kb=300))
    [row] = rows_of(client, "clients", REPORT)
    assert float(row["growth_kb_per_ls"]) == pytest.approx(300, rel=0.02)
    assert row["peak_rss_kb"] == str(1_000_000 + 300 * LS)


def test_it_compares_the_growth_of_memory_in_the_part_that_both_runs_have(
    client: FlaskClient, playback: MirroredCluster
) -> None:
    """Memory grows by 2,000 kB per LS up to LS 50 and not after that, in both runs."""
    whole = played(RUN - 1)
    rss = [1_000_000 + 2000 * min(ls, 50) for ls in range(1, LS + 1)]
    whole = replace(whole, memory=MemorySeries(whole.memory.at_s, rss, rss), rss_kb=rss[-1])
    half = played(RUN)
    begun = replace(
        half,
        lumisection=50,
        events_total=100 * 50,
        document=replace(half.document, updated_at=START + timedelta(seconds=50 * LS_S)),
        memory=MemorySeries(half.memory.at_s[:50], rss[:50], rss[:50]),
        events=EventSeries(range(1, 51), half.events.at_s[:50], [100] * 50, [23_310] * 50),
        rss_kb=rss[49],
    )
    write(playback, whole)
    write(playback, replace(begun, cmssw_version=NEW))
    path = f"{REPORT}&reference={RUN - 1}"
    assert "growth of memory" not in copied(client, "text", path)
    [row] = rows_of(client, "clients", path)
    assert float(row["growth_kb_per_ls"]) == pytest.approx(2000, rel=0.02)


def begun(record: JobRecord, ls: int) -> JobRecord:
    """A job as it was in the course of its run, at a lumisection."""
    memory, events, inputs = record.memory, record.events, record.input_statuses
    return replace(
        record,
        exit_code=None,
        lumisection=ls,
        events_total=sum(events.events[:ls]),
        rss_kb=memory.rss_kb[ls - 1],
        document=replace(record.document, updated_at=START + timedelta(seconds=ls * LS_S)),
        memory=MemorySeries(memory.at_s[:ls], memory.size_kb[:ls], memory.rss_kb[:ls]),
        events=EventSeries(*(column[:ls] for column in columns(events))),
        input_statuses=InputStatuses(inputs.lumisections[:ls], inputs.statuses[:ls]),
    )


def columns(series: EventSeries) -> list[Sequence[int]]:
    return [series.lumisections, series.at_s, series.events, series.duration_ms]


@pytest.mark.parametrize("length", [LS, 5 * LS])
def test_it_compares_an_ongoing_run_with_the_part_of_the_reference_that_it_has_played(
    client: FlaskClient, playback: MirroredCluster, length: int
) -> None:
    """The same data, whose later half has twice the events, more memory, and skipped lumisections."""
    sections = range(1, length + 1)
    is_late = [ls > length // 2 for ls in sections]
    at_s = [round(START.timestamp()) + LS_S * ls for ls in sections]
    rss = [2_000_000 if late else 1_000_000 for late in is_late]
    events = [200 if late else 100 for late in is_late]
    statuses = [InputStatus.TIMEOUT if late else InputStatus.OK for late in is_late]
    whole = replace(
        played(RUN - 1),
        lumisection=length,
        events_total=sum(events),
        rss_kb=rss[-1],
        document=replace(played(RUN - 1).document, updated_at=START + timedelta(seconds=length * LS_S)),
        memory=MemorySeries(at_s, rss, rss),
        events=EventSeries(sections, at_s, events, [23_310] * length),
        input_statuses=InputStatuses(sections, statuses),
    )
    write(playback, whole)
    same = replace(whole, run=RUN, document=replace(played(RUN).document), cmssw_version=NEW)
    write(playback, begun(same, length // 2))
    path = f"{REPORT}&reference={RUN - 1}"
    page = client.get(path).text
    [row] = [row for row in rows_of(client, "clients", path) if row["client"] == "csc"]
    assert (row["events_per_ls"], row["skipped"], row["peak_rss_kb"]) == ("100.0", "0", "1000000")
    for figure in ("100", "0.95 GiB", "0"):
        assert f'title="{figure} in the reference"' in page.replace("\u202f", " ")
    assert f'title="Figures up to LS {length // 2}"' in page
    assert "Figures are of the LS that the client reached in both runs." in page


@pytest.mark.long
def test_it_does_not_take_noise_for_a_growth_of_memory(
    client: FlaskClient, playback: MirroredCluster
) -> None:
    """Memory grows by 300 kB per LS more, but jumps by 50 MB from LS to LS."""
    for run, growth_kb in ((RUN - 1, 0), (RUN, 300)):
        record = played(run)
        rss = [1_000_000 + growth_kb * ls + 50_000 * (ls % 2) for ls in range(1, LS + 1)]
        noisy = replace(record, memory=MemorySeries(record.memory.at_s, rss, rss), rss_kb=rss[-1])
        write(playback, replace(noisy, cmssw_version=OLD if run < RUN else NEW))
    path = f"{REPORT}&reference={RUN - 1}"
    slopes = [
        float(rows_of(client, "clients", f"/report/playback?run={run}")[0]["growth_kb_per_ls"])
        for run in (RUN - 1, RUN)
    ]
    assert slopes[1] - slopes[0] > GROWTH.warning
    assert "growth of memory" not in copied(client, "text", path)


def test_a_client_that_goes_on_has_not_crashed_so_far(client: FlaskClient, playback: MirroredCluster) -> None:
    write(playback, crashing(RUN - 1, CRASH_LOGS[0]), crashing(RUN - 1, CRASH_LOGS[0], "dt"))
    now = datetime.now(UTC)
    running = begun(played(RUN), 50)
    running = replace(running, document=replace(running.document, updated_at=now), started_at=now)
    write(playback, replace(running, cmssw_version=NEW), replace(played(RUN, "dt"), cmssw_version=NEW))
    text = copied(client, "text", f"{REPORT}&reference={RUN - 1}")
    assert "- csc, has not crashed so far" in text
    assert "- dt, no longer crashes" in text


def test_it_states_its_thresholds(client: FlaskClient, playback: MirroredCluster) -> None:
    write(playback, played(RUN))
    rules = {row["figure"]: row for row in rows_of(client, "rules", REPORT)}
    # Spreadsheets take a text that begins with a sign as a formula.
    assert rules[PEAK_MEMORY.figure]["warning"] == "'+10%"
    assert rules[GROWTH.figure]["bad"] == "'+1024 KiB/LS"
    assert all(row["reason"] for row in rules.values())


def test_it_has_a_text_for_the_pull_request(client: FlaskClient, playback: MirroredCluster) -> None:
    write(playback, played(RUN - 1))
    write(playback, replace(played(RUN), cmssw_version=NEW))
    markdown = copied(client, "markdown", REPORT)
    assert f"### [DQM playback test of CMSSW\\_{NEW.replace('_', chr(92) + '_')}, run {RUN}]" in markdown
    assert "OK: 0 clients bad, 0 with a warning, 1 good, against run" in markdown
    assert "- Not in the reference: [\\#45500](https://github.com/cms-sw/cmssw/pull/45500)" in markdown
    assert f"| {SOURCE} | 100 | 1 | 0 |" in markdown
    page = client.get(REPORT).text
    assert 'href="https://github.com/cms-sw/cmssw/pull/45489"' in page


def test_it_is_linked_from_playback_runs_only(
    client: FlaskClient, playback: MirroredCluster, mirrored: MirroredCluster
) -> None:
    write(playback, played(RUN))
    mirrored.write(mirrored.filter_units[0], job(RUN, "csc"))
    mirrored.beat()
    assert f'href="/report/playback?run={RUN}"' in client.get("/?db=playback").text
    assert "/report/playback" not in client.get("/?db=production").text
