"""The shift report: its periods, sections, texts to copy and CSV files."""

import csv
import html
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote, unquote

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

import db
from dqm2.records import JobRecord
from dqmsquare_cfg import EXPERIMENT_ZONE, Cluster, Settings
from server import create_app
from storage import transitions
from storage.audit_log import AuditedAction, AuditLog, Outcome
from storage.mutes import MuteSubject, MuteWriter
from storage.run_queries import RunFilter
from storage.transitions import Thing, Transition, TransitionKind
from tests.control_room import PASSWORD, USER, Visitor
from tests.examples import core_of
from tests.grabber_runner import reader
from tests.mirrored_cluster import MirroredCluster, crashed_job, job
from tests.served import served
from web.pages.reports.shift_period import ShiftPeriod, shift_after, shift_at, shift_before

RUN = 358_788
# 07:00 to 15:00 in Geneva.
BEGIN = datetime(2022, 9, 15, 5, tzinfo=UTC)
END = BEGIN + timedelta(hours=8)
SHIFT = "/report/shift?from=2022-09-15T07:00&to=2022-09-15T15:00"
HOSTILE = "<b>`|](/x) =1+1 @all a@b #12"


def at(record: JobRecord, time: datetime) -> JobRecord:
    """The job as one that was last reported at a time, two hours after its start."""
    version = replace(record.document, updated_at=time)
    return replace(record, document=version, started_at=time - timedelta(hours=2), lumisection_at=time)


def shown(client: FlaskClient, path: str = SHIFT) -> str:
    """The text of a page, without tags and repeated blanks."""
    response = client.get(path)
    assert response.status_code == 200, response.text
    main = response.text.partition("<main")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def rows_of(client: FlaskClient, key: str, path: str = SHIFT) -> list[dict[str, str]]:
    """The rows of a section of a report, by its CSV file."""
    response = client.get(f"{path.replace('?', '.csv?')}&table={key}")
    assert response.status_code == 200, response.text
    return list(csv.DictReader(io.StringIO(response.data.decode("utf-8-sig"))))


def copied(client: FlaskClient, form: str, path: str = SHIFT) -> str:
    """The report as Markdown or text."""
    found = re.search(rf'id="report-{form}"[^>]*>\n(.*?)</textarea>', client.get(path).text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def stop_clock(monkeypatch: pytest.MonkeyPatch, time: datetime) -> None:
    """Let it be a time for the report."""
    clock = Mock(wraps=datetime)
    clock.now.return_value = time
    monkeypatch.setattr("web.pages.reports.shift_page.datetime", clock)


def write_runs(mirrored: MirroredCluster) -> None:
    """Write runs before, during and after the shift."""
    unit, other = mirrored.filter_units[:2]
    before = at(crashed_job(RUN - 1, cmssw_version="12_4_7"), BEGIN - timedelta(hours=1))
    mirrored.write(
        unit, before, at(job(RUN - 1, "dt", exit_code=0, cmssw_version="12_4_7"), BEGIN - timedelta(hours=1))
    )
    mirrored.write(
        unit,
        at(crashed_job(RUN), BEGIN + timedelta(hours=3)),
        at(crashed_job(RUN, client="ecal"), BEGIN + timedelta(hours=4)),
        at(job(RUN, "beam", exit_code=0), BEGIN + timedelta(hours=4)),
    )
    mirrored.write(other, at(job(RUN + 1, "beam", exit_code=0, run_key="hi_run"), END + timedelta(hours=9)))
    mirrored.beat()


@pytest.fixture
def runs(mirrored: MirroredCluster) -> MirroredCluster:
    """Runs before, during and after the shift."""
    write_runs(mirrored)
    return mirrored


@pytest.fixture(scope="module")
def of_runs(shared_settings: Settings) -> FlaskClient:
    """A client of the report on the same runs, for tests that change nothing."""
    write_runs(MirroredCluster(shared_settings))
    return create_app(shared_settings).test_client()


@pytest.mark.parametrize(
    ("time", "begin", "hours"),
    [
        ("2022-09-15T07:00", "2022-09-15T07:00", 8),
        ("2022-09-15T14:59", "2022-09-15T07:00", 8),
        ("2022-09-15T15:00", "2022-09-15T15:00", 8),
        ("2022-09-15T23:30", "2022-09-15T23:00", 8),
        ("2022-09-16T01:00", "2022-09-15T23:00", 8),
        # Nights in which the clock changes.
        ("2022-03-27T04:00", "2022-03-26T23:00", 7),
        ("2022-10-30T04:00", "2022-10-29T23:00", 9),
    ],
)
def test_it_knows_the_shift_of_a_time(time: str, begin: str, hours: int) -> None:
    found = shift_at(datetime.fromisoformat(time).replace(tzinfo=EXPERIMENT_ZONE).astimezone(UTC))
    assert found.since == datetime.fromisoformat(begin).replace(tzinfo=EXPERIMENT_ZONE).astimezone(UTC)
    assert found.until - found.since == timedelta(hours=hours)
    assert shift_after(shift_before(found)) == found == shift_before(shift_after(found))


def test_it_finds_the_last_complete_shift_before_another_period() -> None:
    period = ShiftPeriod(BEGIN + timedelta(hours=1), END)
    assert shift_before(period) == ShiftPeriod(BEGIN, END)


@pytest.mark.parametrize(
    "time",
    core_of(
        [BEGIN + timedelta(microseconds=1), END - timedelta(microseconds=1)], END - timedelta(microseconds=1)
    ),
)
def test_it_shows_the_current_shift_by_default(
    client: FlaskClient, mirrored: MirroredCluster, monkeypatch: pytest.MonkeyPatch, time: datetime
) -> None:
    stop_clock(monkeypatch, time)
    mirrored.write(mirrored.filter_units[0], job(RUN, "csc", at=BEGIN, exit_code=0))
    mirrored.beat()
    text = client.get("/report/shift").text
    assert 'value="2022-09-15T07:00"' in text
    assert re.search(r'aria-current="page">Current shift', text)
    assert "The period has not ended" in text
    assert "So far: 1 run; no crash." in text
    assert "Later shift" not in text
    assert str(RUN) in text


@pytest.mark.parametrize(
    ("query", "begin", "end"),
    [
        ("from=2022-09-15&to=2022-09-15", "2022-09-15T00:00", "2022-09-16T00:00"),
        ("from=2022-09-15T05:00Z&to=2022-09-15T06:00%2B01:00", "2022-09-15T07:00", "2022-09-15T07:00"),
        ("from=2022-09-15T08:00", "2022-09-15T08:00", "2022-09-15T15:00"),
        ("to=2022-09-15T08:00", "2022-09-15T07:00", "2022-09-15T08:00"),
        ("from=2022-09-15T08:00:30&to=", "2022-09-15T08:00", "2022-09-15T15:00"),
        # A week of 169 hours.
        ("from=2022-10-24&to=2022-10-30", "2022-10-24T00:00", "2022-10-31T00:00"),
    ],
)
def test_it_takes_times_and_days(of_runs: FlaskClient, query: str, begin: str, end: str) -> None:
    response = of_runs.get(f"/report/shift?{query}")
    if begin == end:
        assert response.status_code == 400
        return
    assert f'name="from" value="{begin}"' in response.text
    assert f'name="to" value="{end}"' in response.text


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2022-13-01T00:00",
        "from=0001-01-01T00:00",
        "from=2022-09-16&to=2022-09-15",
        "from=2022-09-01&to=2022-09-30",
        "from=2022-10-24&to=2022-10-31",
        "from=2099-01-01",
        "from=2022-09-15T07:00&from=2022-09-15T08:00",
        "db=lookarea",
    ],
)
def test_it_refuses_other_periods(of_runs: FlaskClient, query: str) -> None:
    assert of_runs.get(f"/report/shift?{query}").status_code == 400
    assert of_runs.get(f"/report/shift.csv?table=runs&{query}").status_code == 400


def test_it_refuses_an_unknown_table(of_runs: FlaskClient) -> None:
    assert of_runs.get("/report/shift.csv?table=secrets").status_code == 404


def test_it_lists_the_runs_of_the_period(of_runs: FlaskClient) -> None:
    [row] = rows_of(of_runs, "runs")
    assert row["run"] == str(RUN)
    assert row["run_key"] == "pp_run"
    assert row["cmssw_version"] == "12_4_8_39145_39162"
    assert (row["last_lumisection"], row["clients"], row["crashed"]) == ("300", "3", "2")
    assert row["ended_at"] == "2022-09-15T09:00:00Z"


def test_it_lists_crashes_with_new_ones_first(of_runs: FlaskClient) -> None:
    new, known = rows_of(of_runs, "crashes")
    assert new["crash"].startswith("[new] ecal")
    assert known["crash"].startswith("csc")
    assert (known["since_run"], known["runs_in_all"], known["jobs"]) == (str(RUN - 1), "2", "1")
    assert "2 crashes of 2 kinds, 1 of them new" in shown(of_runs)


def test_a_crash_is_new_that_was_first_seen_with_the_release(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    records = [crashed_job(RUN - 1), crashed_job(RUN)]
    times = (BEGIN - timedelta(hours=1), BEGIN + timedelta(hours=1))
    mirrored.write(mirrored.filter_units[0], *map(at, records, times))
    mirrored.beat()
    [crash] = rows_of(client, "crashes")
    assert crash["crash"].startswith("[new] csc")
    assert (crash["since_run"], crash["runs_in_all"]) == (str(RUN - 1), "2")


def test_it_lists_missing_clients(of_runs: FlaskClient) -> None:
    assert rows_of(of_runs, "missing") == [{"client": "dt", "runs": str(RUN), "first_run": str(RUN)}]


def test_its_title_has_both_zones_if_the_clock_changes(client: FlaskClient) -> None:
    assert "29 Oct 2022 23:00 CEST–30 Oct 2022 07:00 CET" in shown(
        client, "/report/shift?from=2022-10-29T23:00"
    )
    assert "28 Oct 2022 23:00–29 Oct 2022 07:00 CEST" in shown(client, "/report/shift?from=2022-10-28T23:00")


def test_it_lists_jobs_that_are_lost(client: FlaskClient, runs: MirroredCluster) -> None:
    runs.write(runs.filter_units[0], at(job(RUN, "rpc"), BEGIN + timedelta(hours=2)))
    # Lost after the shift.
    runs.write(runs.filter_units[1], at(job(RUN, "hlt"), END + timedelta(hours=2)))
    [row] = rows_of(client, "unfinished")
    assert (row["client"], row["state"], row["run"], row["to"]) == ("rpc", "lost", str(RUN), "still")


def write_transitions(settings: Settings, *found: Transition) -> None:
    engine = db.engine(settings, Cluster.PRODUCTION, "tests")
    with engine.begin() as connection:
        transitions.write(connection, found)
    engine.dispose()


def problem(thing: Thing, state: str, time: datetime, **fields: Any) -> Transition:
    return Transition(thing, state, is_problem=True, occurred_at=time, **fields)


def solved(thing: Thing, state: str, time: datetime, **fields: Any) -> Transition:
    return Transition(thing, state, is_problem=False, occurred_at=time, **fields)


def test_it_lists_times_with_stale_data_and_stuck_clients(client: FlaskClient, settings: Settings) -> None:
    mirror, gateway = Thing(TransitionKind.MIRROR), Thing(TransitionKind.GATEWAY)
    csc = Thing(TransitionKind.CLIENT, "csc_dqm_sourceclient-live")
    minute = timedelta(minutes=1)
    write_transitions(
        settings,
        problem(mirror, "stale", BEGIN - 30 * minute),
        solved(mirror, "current", BEGIN - 20 * minute),
        problem(mirror, "stale", BEGIN - 10 * minute, detail="no heartbeat"),
        problem(csc, "stuck", BEGIN + minute, run=RUN, machine="fu..01"),
        solved(mirror, "current", BEGIN + 5 * minute),
        solved(csc, "running", BEGIN + 9 * minute, previous_state="stuck"),
        problem(gateway, "down", BEGIN + 20 * minute),
        problem(mirror, "stale", END + minute),
    )
    stale, down = rows_of(client, "stale")
    assert stale["from"] == "2022-09-15T04:50:00Z"
    assert stale["to"] == "2022-09-15T05:05:00Z"
    assert stale["reason"] == "no heartbeat"
    assert (down["part"], down["to"]) == ("DQM² gateway", "still at the end")
    [stuck] = rows_of(client, "unfinished")
    assert (stuck["client"], stuck["state"], stuck["run"]) == ("csc", "was stuck", str(RUN))


def test_it_lists_clients_that_were_stuck_when_the_shift_ended(
    client: FlaskClient, settings: Settings
) -> None:
    csc, dt = (Thing(TransitionKind.CLIENT, f"{name}_dqm_sourceclient-live") for name in ("csc", "dt"))
    minute = timedelta(minutes=1)
    write_transitions(
        settings,
        problem(dt, "stuck", BEGIN - minute, run=RUN),
        problem(csc, "stuck", END - minute, run=RUN),
        solved(csc, "running", END + minute, previous_state="stuck"),
        solved(dt, "running", END + minute, previous_state="stuck"),
    )
    found = [(row["client"], row["state"], row["to"]) for row in rows_of(client, "unfinished")]
    assert found == [("dt", "was stuck", "still at the end"), ("csc", "was stuck", "still at the end")]


def test_it_lists_a_client_that_has_been_stuck_since_before_the_shift(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    now, minute = datetime.now(UTC), timedelta(minutes=1)
    mirrored.write(mirrored.filter_units[0], job(RUN, "csc", at=now - 40 * minute), job(RUN, "beam", at=now))
    csc = Thing(TransitionKind.CLIENT, "csc_dqm_sourceclient-live")
    write_transitions(settings, problem(csc, "stuck", now - 25 * minute, run=RUN))
    since = f"{now - 10 * minute:%Y-%m-%dT%H:%MZ}"
    path = f"/report/shift?from={since}&to={now + 10 * minute:%Y-%m-%dT%H:%MZ}"
    found = [(row["client"], row["state"], row["to"]) for row in rows_of(client, "unfinished", path)]
    assert found == [("csc", "stuck", "still")]


def test_it_lists_machines_that_were_down(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit, other = mirrored.filter_units[:2]
    hour = timedelta(hours=1)
    mirrored.set_machine_state(unit, BEGIN - 5 * hour)
    mirrored.set_machine_state(unit, BEGIN - hour, down_reason="timed out")
    mirrored.set_machine_state(unit, BEGIN + hour)
    mirrored.set_machine_state(other, BEGIN + 2 * hour, down_reason="no route")
    mirrored.set_machine_state(other, END + hour)
    first, second = sorted(rows_of(client, "machines"), key=lambda row: row["from"])
    assert first == {
        "machine": mirrored.label(unit),
        "from": "2022-09-15T04:00:00Z",
        "to": "2022-09-15T06:00:00Z",
        "reason": "timed out",
    }
    assert (second["machine"], second["to"]) == (mirrored.label(other), "still at the end")


def test_it_does_not_list_machines_that_are_gone_as_still_down(
    client: FlaskClient, settings: Settings, mirrored: MirroredCluster
) -> None:
    gone, *others = settings.fff_production_machines
    mirrored.set_machine_state(gone, BEGIN - timedelta(days=30), down_reason="no route")
    assert [row["machine"] for row in rows_of(client, "machines")] == [mirrored.label(gone)]
    MirroredCluster(replace(settings, fff_production_machines=tuple(others))).beat()
    assert rows_of(client, "machines") == []
    # The report of the shift in which it went down keeps it.
    began = "/report/shift?from=2022-08-16T07:00&to=2022-08-16T15:00"
    assert [row["machine"] for row in rows_of(client, "machines", began)] == [mirrored.label(gone)]


def test_it_lists_mutes_that_were_set_or_ended(client: FlaskClient, settings: Settings) -> None:
    writer = MuteWriter(db.engine(settings, Cluster.PRODUCTION, "tests"))
    writer.mute(MuteSubject("csc_dqm_sourceclient-live"), HOSTILE, "shifter", timedelta(hours=1))
    # A period in which the mute is still to end.
    now = datetime.now(UTC)
    since, until = now - timedelta(hours=3), now + timedelta(hours=3)
    path = f"/report/shift?db=production&from={since:%Y-%m-%dT%H:%MZ}&to={until:%Y-%m-%dT%H:%MZ}"
    [row] = rows_of(client, "mutes", path)
    assert row["muted"] == "csc"
    assert row["username"] == "shifter"
    assert row["reason"] == HOSTILE
    assert "<b>" not in client.get(path).text.partition("<main")[2].replace("&lt;b&gt;", "")
    # The invisible character keeps GitHub and chats from referring to people and issues.
    assert "\\<b\\>\\`\\|\\](/x) =1+1 @\u200ball a@b \\#\u200b12" in copied(client, "markdown", path)
    assert "- csc, [set] muted " in copied(client, "text", path)
    assert "[ended]" not in copied(client, "text", path)
    writer.unmute(MuteSubject("csc_dqm_sourceclient-live"))
    assert ", [ended] until " in copied(client, "text", path)
    assert rows_of(client, "mutes") == []


def test_a_mute_has_ended_at_its_end(
    client: FlaskClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = db.engine(settings, Cluster.PRODUCTION, "tests")
    muted = sa.insert(db.mutes).values(client="csc", reason=HOSTILE, username="shifter", muted_at=BEGIN)
    with engine.begin() as connection:
        connection.execute(muted.values(ends_at=END - timedelta(hours=1)))
    engine.dispose()
    for before, is_ended in ((timedelta(microseconds=1), False), (timedelta(), True)):
        stop_clock(monkeypatch, END - timedelta(hours=1) - before)
        assert ("[ended] until " in copied(client, "text")) == is_ended


@pytest.fixture
def command(settings: Settings) -> Iterator[AuditLog]:
    """A command that was sent now for each cluster, and a read."""
    engine = db.engine(settings, Cluster.PLAYBACK, "tests")
    audit = AuditLog(engine, None)
    for cluster, is_change in (
        (Cluster.PRODUCTION, True),
        (Cluster.PLAYBACK, True),
        (Cluster.PRODUCTION, False),
    ):
        entry = audit.begin(
            AuditedAction(
                "restart_hltd" if is_change else "get_hltd_logs",
                username="carla",
                is_change=is_change,
                cluster=cluster,
                machine=f"fu..{cluster}",
            ),
            None,
        )
        audit.mark_sent(entry)
        audit.complete(entry, Outcome.OK, "done")
    yield audit
    engine.dispose()


@pytest.mark.usefixtures("command")
def test_it_lists_commands_without_names(client: FlaskClient) -> None:
    # A shift may have begun since they were sent.
    since, until = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    for cluster in Cluster:
        path = f"/report/shift?db={cluster}&from={since:%Y-%m-%dT%H:%MZ}&to={until:%Y-%m-%dT%H:%MZ}"
        [row] = rows_of(client, "commands", path)
        assert row["command"] == f"HLTD restarted on fu..{cluster}"
        assert row["outcome"] == "ok"
        assert "carla" not in client.get(path).text


def test_it_reports_without_the_database_that_has_the_commands(
    client: FlaskClient, settings: Settings, runs: MirroredCluster
) -> None:
    assert runs
    engine = db.engine(settings, Cluster.PLAYBACK, "tests")
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE audit_log RENAME TO audit_log_elsewhere"))
    engine.dispose()
    text = shown(client)
    assert "Not known: the database of the playback cluster" in text
    assert "2 crashes of 2 kinds" in text


@pytest.mark.usefixtures("command")
def test_it_names_who_sent_commands_to_signed_in_experts_only(settings: Settings) -> None:
    with served(settings) as url:
        visitor = Visitor(url)
        now = datetime.now(UTC)
        since, until = now - timedelta(hours=1), now + timedelta(hours=1)
        path = f"/cr/report/shift?db=production&from={since:%Y-%m-%dT%H:%MZ}&to={until:%Y-%m-%dT%H:%MZ}"
        login_url = visitor.get(path).headers["Location"]
        assert "page=shift" in login_url
        form = {"username": USER, "password": PASSWORD}
        signed_in = visitor.post(login_url, form)
        assert unquote(signed_in.headers["Location"]) == path
        response = visitor.get(signed_in.headers["Location"])
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert "carla" in response.text


def test_it_has_texts_to_copy(of_runs: FlaskClient) -> None:
    markdown = copied(of_runs, "markdown")
    assert (
        "### [DQM shift report of the production cluster, 15 Sep 2022 07:00–15:00 CEST](/report/shift?"
        in markdown
    )
    assert f"| [{RUN}](/?db=production&run={RUN}) | pp\\_run | 12\\_4\\_8\\_39145\\_39162 |" in markdown
    assert "| **new** [ecal" in markdown
    text = copied(of_runs, "text")
    assert f"- run {RUN}, pp_run, CMSSW_12_4_8_39145_39162, from " in text
    assert "300 LS, 3 clients, 2 crashed" in text
    assert "No command was sent." in text


def test_it_is_complete_without_anything(client: FlaskClient) -> None:
    text = shown(client)
    assert "0 runs; no crash." in text
    for sentence in ("No run.", "No job crashed.", "No client was missing.", "No mute was set or ended."):
        assert sentence in text


def test_it_does_not_claim_what_was_not_noted_or_is_no_longer_stored(
    client: FlaskClient, settings: Settings, mirrored: MirroredCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = copied(client, "text")
    assert "Old data\nNone is known.\nTimes with old data are not known for the whole period" in text
    assert "No job is stuck or lost.\nJobs that were stuck for a while are not known" in text
    assert "Machines down\nNot known." in text
    write_transitions(settings, problem(Thing(TransitionKind.GATEWAY), "down", BEGIN - timedelta(days=9)))
    engine = db.engine(settings, Cluster.PRODUCTION, "tests")
    with engine.begin() as connection:
        connection.execute(sa.update(db.transitions).values(noted_at=BEGIN - timedelta(days=9)))
    engine.dispose()
    mirrored.set_machine_state(mirrored.filter_units[0], BEGIN - timedelta(days=9))
    assert "Times with old data are not known for the whole period" in shown(client)
    monkeypatch.setattr("storage.transitions.RETENTION", datetime.now(UTC) - BEGIN + timedelta(days=1))
    mirrored.beat()
    text = shown(client)
    for sentence in ("The mirror was up to date.", "No job was stuck or lost.", "No machine was down."):
        assert sentence in text
    assert "not known" not in text


@pytest.mark.usefixtures("runs")
def test_it_has_as_many_queries_for_many_runs_as_for_few(client: FlaskClient) -> None:
    counts: list[int] = []

    def count(*_: object) -> None:
        counts[-1] += 1

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    # The first request looks up the schema, too.
    for since in ("2022-09-15T08:00", "2022-09-15T07:00", "2022-09-14T07:00"):
        counts.append(0)
        shown(client, f"/report/shift?from={since}&to=2022-09-15T15:00")
    sa.event.remove(sa.Engine, "before_cursor_execute", count)
    assert counts[1] == counts[2] > 0


@pytest.mark.long
def test_it_expects_the_clients_of_the_last_run_before_each_run_with_its_run_key(
    settings: Settings, mirrored: MirroredCluster
) -> None:
    keys = ("pp_run", "hi_run", "pp_run", "pp_run", "hi_run", None)
    names = ("beam", "csc", "dt", "ecal")
    for number, run_key in enumerate(keys):
        jobs = [job(RUN + number, name, run_key=run_key) for name in names[number % 3 :]]
        mirrored.write(mirrored.filter_units[0], *jobs)
    found = reader(settings).runs.find(RunFilter(1, RUN + 9), below=None, limit=9)
    assert reader(settings).runs.expected_clients_of(found) == {
        run.run: reader(settings).runs.expected_clients(run.run, run.run_key)
        for run in found
        if run.run_key is not None
    }
    assert reader(settings).runs.expected_clients_of(()) == {}


@pytest.mark.long
@pytest.mark.usefixtures("runs")
def test_it_says_that_it_leaves_out_runs(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.pages.reports.shift_data.MAX_RUNS", 1)
    path = f"/report/shift?from={quote('2022-09-14T07:00')}&to=2022-09-16T07:00"
    assert [row["run"] for row in rows_of(client, "runs", path)] == [str(RUN + 1)]
    assert "Only the newest 1 runs of the period are reported." in shown(client, path)
    assert "more than 1 run;" in shown(client, path)


def test_it_is_linked_from_every_page(client: FlaskClient) -> None:
    for path in ("/", "/timeline/", "/crashes/"):
        assert 'href="/report/shift?db=production"' in client.get(path).text
