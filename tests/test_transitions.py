"""Transitions: changes of clients, machines and the data path are recorded when they become visible."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

import pytest
import sqlalchemy as sa

import db
from benchmarks.crash_corpus import CRASH_LOGS
from dqm2.records import DocumentVersion, JobRecord
from dqmsquare_cfg import Cluster, Settings
from storage.client_transitions import ClientWatch
from storage.job_state import StateRules
from storage.rows import QuarantinedDocument
from storage.sync_status import LinkStatus
from storage.transition_watch import TransitionWatch
from storage.transitions import (
    RecordedTransition,
    Thing,
    Transition,
    TransitionKind,
    TransitionReader,
    read_conditions,
)
from tests.examples import long
from tests.grabber_runner import count_rows
from tests.mirrored_cluster import MirroredCluster, crashed_job, job

RUN = 381_594
STALE_AFTER = timedelta(seconds=30)
FAILING = LinkStatus(failing_since=datetime.now(UTC) - timedelta(minutes=5), reason="HTTP 502")


class Transitions:
    """Reader of the transitions that were recorded, in the order of their ids."""

    def __init__(self, settings: Settings) -> None:
        self._reader = TransitionReader(db.engine(settings, Cluster.PRODUCTION, "tests"))
        self._cursor = 0

    def recorded(self) -> list[RecordedTransition]:
        """Everything since the last call."""
        found = self._reader.after(self._cursor, 1000)
        self._cursor = found[-1].id if found else self._cursor
        return found

    def news(self) -> list[Transition]:
        """The transitions since the last call that are no history."""
        return [each.transition for each in self.recorded() if not each.transition.is_initial]

    def states(self) -> list[str]:
        """The news in short."""
        return [f"{each.thing.kind} {each.thing.subject} {each.state}" for each in self.news()]


@pytest.fixture
def watched(settings: Settings) -> Callable[..., MirroredCluster]:
    """A function that takes a cluster over with a new leader, whose links stay as they are.

    It takes other settings for the leader, if that has any.
    """

    def take_over(settings: Settings = settings) -> MirroredCluster:
        rules = StateRules.for_cluster(settings, Cluster.PRODUCTION)
        watch = TransitionWatch(rules, missing_after=timedelta(minutes=5), stale_after=STALE_AFTER)
        return MirroredCluster(settings, watch=watch)

    return take_over


@pytest.fixture
def mirrored(watched: Callable[[], MirroredCluster]) -> MirroredCluster:
    """The production cluster with a run of three healthy clients, all machines of which are watched."""
    cluster = watched()
    first, second = cluster.filter_units
    cluster.write(first, job(RUN, "csc"), job(RUN, "dt"))
    cluster.write(second, job(RUN, "ecal"))
    cluster.write(cluster.builder_unit, job(0, "none"))
    cluster.beat()
    return cluster


@pytest.fixture
def transitions(settings: Settings, mirrored: MirroredCluster) -> Transitions:
    """The transitions that were recorded, without those of the healthy run."""
    del mirrored
    found = Transitions(settings)
    found.recorded()
    return found


_tick = count(1)


def later(record: JobRecord, **fields: object) -> JobRecord:
    """A later report of the same job."""
    at = record.document.updated_at + timedelta(seconds=next(_tick))
    return replace(record, document=replace(record.document, updated_at=at), **fields)  # type: ignore[arg-type]


def restarted(record: JobRecord, **fields: object) -> JobRecord:
    """The first report of the client's next job."""
    at = record.document.updated_at + timedelta(seconds=30)
    document = DocumentVersion(uuid4(), 0, at)
    fields = {"document": document, "started_at": at, "exit_code": None, "crash": None, **fields}
    return replace(record, **fields)  # type: ignore[arg-type]


def test_a_crash_is_noted_once_with_its_group_and_its_end(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    host = mirrored.filter_units[0]
    crash = crashed_job(RUN, client="csc")
    mirrored.write(host, crash)
    recorded = transitions.news()
    assert [(each.thing.kind, each.state) for each in recorded] == [
        (TransitionKind.CLIENT, "crashed"),
        (TransitionKind.CRASH_GROUP, "new"),
    ]
    found = recorded[0]
    assert found.thing.subject == "csc_dqm_sourceclient-live"
    assert (found.run, found.job, found.machine) == (RUN, crash.document.identity, mirrored.label(host))
    assert found.is_problem
    assert found.is_new_group
    assert found.detail
    mirrored.write(host, later(crash), job(RUN, "dt"))
    assert transitions.states() == []
    mirrored.write(host, restarted(crash))
    assert transitions.states() == ["client csc_dqm_sourceclient-live running"]


def test_a_crash_that_is_restarted_at_once_is_noted(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    crash = crashed_job(RUN, client="csc")
    mirrored.write(mirrored.filter_units[0], crash, restarted(crash))
    assert [(each.thing.kind.value, each.state) for each in transitions.news()] == [
        ("client", "crashed"),
        ("crash_group", "new"),
        ("client", "running"),
    ]


def test_a_known_group_is_no_new_one(mirrored: MirroredCluster, transitions: Transitions) -> None:
    host = mirrored.filter_units[0]
    mirrored.write(host, crashed_job(RUN, client="csc", cmssw_version="15_0_0"))
    assert [each.state for each in transitions.news()] == ["crashed", "new"]
    # Like the mark of the pages: in the same run, in a later one of its release, and in another release.
    for run, release, is_new in (
        (RUN, "15_0_0", True),
        (RUN + 1, "15_0_0", True),
        (RUN + 2, "15_0_1", False),
    ):
        mirrored.write(host, crashed_job(run, client="csc", variation=1, cmssw_version=release))
        crashes = [each for each in transitions.news() if each.state == "crashed"]
        assert [each.is_new_group for each in crashes] == [is_new]
    mirrored.write(host, crashed_job(RUN + 2, CRASH_LOGS[1], client="csc"))
    assert [each.is_new_group for each in transitions.news()] == [True, True]


def test_a_group_is_new_once_though_its_first_crash_is_corrected(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    host = mirrored.filter_units[0]
    crash = crashed_job(RUN, client="csc")
    mirrored.write(host, crash)
    assert TransitionKind.CRASH_GROUP in [each.thing.kind for each in transitions.news()]
    mirrored.write(host, later(crash, exit_code=0, crash=None))
    transitions.recorded()
    mirrored.write(host, restarted(crash, exit_code=crash.exit_code, crash=crash.crash))
    assert [each.thing.kind for each in transitions.news()] == [TransitionKind.CLIENT]


@pytest.mark.long
def test_the_conditions_of_all_crash_groups_are_not_read_each_time(
    settings: Settings, mirrored: MirroredCluster, transitions: Transitions
) -> None:
    mirrored.write(mirrored.filter_units[0], crashed_job(RUN, client="csc"))
    assert TransitionKind.CRASH_GROUP in [each.thing.kind for each in transitions.news()]
    with db.engine(settings, Cluster.PRODUCTION, "tests").connect() as connection:
        kinds = {thing.kind for thing in read_conditions(connection)}
    assert TransitionKind.CLIENT in kinds
    assert TransitionKind.CRASH_GROUP not in kinds


@pytest.mark.long
def test_a_late_crash_of_the_run_before_is_noted(mirrored: MirroredCluster, transitions: Transitions) -> None:
    host = mirrored.filter_units[0]
    just_now = datetime.now(UTC) - timedelta(seconds=30)
    mirrored.write(host, job(RUN + 1, "csc", started_at=just_now))
    mirrored.write(host, crashed_job(RUN, client="csc"))
    states = [each for each in transitions.states() if "crash_group" not in each]
    assert states == [
        "client csc_dqm_sourceclient-live crashed",
        "client csc_dqm_sourceclient-live running",
    ]


def test_a_silent_client_is_stuck_then_lost(mirrored: MirroredCluster, transitions: Transitions) -> None:
    host = mirrored.filter_units[0]
    silent = job(RUN, "gem")
    mirrored.write(host, silent)
    now = silent.document.updated_at
    mirrored.write(host, job(RUN, "csc"), job(RUN, "dt"), clock_at=now + timedelta(minutes=20))
    assert "client gem_dqm_sourceclient-live stuck" in transitions.states()
    mirrored.write(host, job(RUN + 1, "csc", at=now), clock_at=now + timedelta(minutes=21))
    mirrored.write(host, job(RUN, "dt"), clock_at=now + timedelta(minutes=21))
    assert "client gem_dqm_sourceclient-live stuck" not in transitions.states()


def test_a_client_that_the_run_before_had_is_missing_once(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    first, second = mirrored.filter_units
    began = datetime.now(UTC) - timedelta(hours=1)
    mirrored.write(first, job(RUN + 1, "csc", started_at=began), job(RUN + 1, "dt", started_at=began))
    mirrored.beat()
    assert transitions.states() == ["client ecal_dqm_sourceclient-live missing"]
    mirrored.write(first, job(RUN + 1, "csc", started_at=began))
    assert transitions.states() == []
    mirrored.write(second, job(RUN + 1, "ecal", started_at=began))
    assert transitions.states() == ["client ecal_dqm_sourceclient-live running"]


def test_no_client_is_missing_while_a_machine_is_not_mirrored(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    first, second = mirrored.filter_units
    mirrored.beat(machines={second: FAILING})
    began = datetime.now(UTC) - timedelta(hours=1)
    mirrored.write(first, job(RUN + 1, "csc", started_at=began), job(RUN + 1, "dt", started_at=began))
    assert transitions.states() == []


def test_a_problem_ends_when_the_next_run_does_without_the_client(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    host = mirrored.filter_units[0]
    mirrored.write(host, crashed_job(RUN, client="csc", run_key="pp_run"))
    transitions.recorded()
    began = datetime.now(UTC) - timedelta(hours=1)
    mirrored.write(host, job(RUN + 1, "dt", started_at=began, run_key="cosmic_run"))
    mirrored.beat()
    assert transitions.states() == ["client csc_dqm_sourceclient-live absent"]


@pytest.mark.parametrize(
    "fault",
    [long("an error of the program"), "an error of the database"],
)
def test_an_unexpected_error_delays_transitions_but_not_the_mirror(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    rules = StateRules.for_cluster(settings, Cluster.PRODUCTION)
    watch = TransitionWatch(rules, missing_after=timedelta(minutes=5), stale_after=STALE_AFTER)
    errors: list[str] = []
    cluster = MirroredCluster(settings, watch=watch, on_watch_error=lambda: errors.append(fault))
    transitions = Transitions(settings)
    host = cluster.filter_units[0]
    cluster.write(host, job(RUN, "csc"))
    cluster.beat()
    transitions.recorded()
    with monkeypatch.context() as broken:
        find = broken_in_python if fault == "an error of the program" else broken_in_sql
        broken.setattr(ClientWatch, "find", find)
        cluster.write(host, crashed_job(RUN, client="dt"))
        cluster.write(host, crashed_job(RUN, client="ecal"))
    assert len(errors) == 2
    assert caplog.text.count("transition_watch_failed") == 1
    assert transitions.states() == []
    assert count_rows(settings, db.jobs) == 3
    cluster.write(host, job(RUN, "csc"))
    assert {"client dt_dqm_sourceclient-live crashed", "client ecal_dqm_sourceclient-live crashed"} <= {
        *transitions.states()
    }


def broken_in_python(_watch: ClientWatch) -> list[Transition]:
    """A comparison that ends in an error of the program, as for a value that nobody thought of."""
    raise ValueError


def broken_in_sql(watch: ClientWatch) -> list[Transition]:
    """A comparison that ends in an error of the database, after which a transaction accepts nothing more."""
    watch.connection.execute(sa.text("SELECT 1 / 0"))
    return []


def test_nothing_of_a_first_sync_is_news(settings: Settings, watched: Callable[[], MirroredCluster]) -> None:
    cluster = watched()
    transitions = Transitions(settings)
    first, second = cluster.filter_units
    cluster.write(first, crashed_job(RUN, client="csc"), is_caught_up=False)
    assert transitions.recorded() == []
    cluster.write(first, crashed_job(RUN, client="dt"))
    cluster.write(second, crashed_job(RUN, client="ecal"))
    cluster.beat()
    assert transitions.states() == []
    cluster.write(first, crashed_job(RUN, client="csc", variation=1))
    assert transitions.states() == ["client csc_dqm_sourceclient-live crashed"]


def test_nothing_is_noted_while_catching_up_and_then_only_what_is_recent(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    host = mirrored.filter_units[0]
    now = datetime.now(UTC)
    document = DocumentVersion(uuid4(), 0, now - timedelta(hours=3))
    old = crashed_job(RUN, client="csc", document=document, started_at=now - timedelta(hours=5))
    mirrored.write(host, old, restarted(old), is_caught_up=False)
    mirrored.write(host, crashed_job(RUN, CRASH_LOGS[1], client="dt"), is_caught_up=False)
    assert transitions.recorded() == []
    mirrored.write(host, job(RUN, "gem"))
    assert "client dt_dqm_sourceclient-live crashed" in (states := transitions.states())
    assert "client csc_dqm_sourceclient-live crashed" not in states


def test_another_leader_notes_what_happened_in_between_once(
    mirrored: MirroredCluster, transitions: Transitions, watched: Callable[[], MirroredCluster]
) -> None:
    host = mirrored.filter_units[0]
    crash = crashed_job(RUN, client="csc")
    mirrored.write(host, crash, is_caught_up=False)
    another = watched()
    another.beat()
    assert transitions.states()[0] == "client csc_dqm_sourceclient-live crashed"
    watched().beat()
    assert transitions.states() == []


def test_a_machine_goes_down_and_comes_back(mirrored: MirroredCluster, transitions: Transitions) -> None:
    host, now = mirrored.filter_units[0], datetime.now(UTC)
    mirrored.set_machine_state(host, now)
    mirrored.set_machine_state(host, now + timedelta(minutes=1), down_reason="HTTP 502")
    mirrored.set_machine_state(host, now + timedelta(minutes=2), down_reason="HTTP 503")
    mirrored.set_machine_state(host, now + timedelta(minutes=3))
    label = mirrored.label(host)
    assert transitions.states() == [f"machine {label} down", f"machine {label} up"]


def test_a_machine_that_is_first_seen_down_is_no_news(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    mirrored.set_machine_state(mirrored.filter_units[0], datetime.now(UTC), down_reason="HTTP 502")
    assert transitions.states() == []


def test_a_gateway_that_fails_hides_its_machines(
    mirrored: MirroredCluster, transitions: Transitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pass(monkeypatch, 2 * STALE_AFTER)
    failing = dict.fromkeys((mirrored.builder_unit, *mirrored.filter_units), FAILING)
    mirrored.beat(gateway=FAILING, machines=failing)
    mirrored.beat(gateway=FAILING, machines=failing)
    assert transitions.states() == ["gateway  down"]
    mirrored.beat(datetime.now(UTC) + 3 * STALE_AFTER)
    assert transitions.states() == ["gateway  up"]


def test_a_machine_that_is_not_mirrored_makes_the_mirror_stale(
    mirrored: MirroredCluster, transitions: Transitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = mirrored.filter_units[0]
    mirrored.beat(machines={host: FAILING})
    assert transitions.states() == [], "the links are still those of the leader before"
    later_at = _pass(monkeypatch, 2 * STALE_AFTER)
    mirrored.beat(later_at, machines={host: FAILING})
    mirrored.beat(later_at, machines={host: FAILING})
    label = mirrored.label(host)
    assert transitions.states() == [f"mirror {label} stale"]
    mirrored.beat(later_at, machines={host: replace(FAILING, last_success_at=later_at, failing_since=None)})
    assert transitions.states() == [f"mirror {label} current"]


def test_old_data_of_a_machine_end_with_its_removal_from_the_settings(
    settings: Settings,
    mirrored: MirroredCluster,
    transitions: Transitions,
    watched: Callable[..., MirroredCluster],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, *others = settings.fff_production_machines
    label = mirrored.label(host)
    later_at = _pass(monkeypatch, 2 * STALE_AFTER)
    mirrored.beat(later_at, machines={host: FAILING})
    assert transitions.states() == [f"mirror {label} stale"]
    watched(replace(settings, fff_production_machines=tuple(others))).beat(later_at)
    assert f"mirror {label} removed" in transitions.states()
    watched().beat(later_at)
    assert f"mirror {label} current" in transitions.states()


def test_an_outage_of_the_grabber_is_noted_by_the_next(
    mirrored: MirroredCluster, transitions: Transitions, watched: Callable[[], MirroredCluster]
) -> None:
    mirrored.set_heartbeat_age(timedelta(minutes=10))
    another = watched()
    (stale,) = transitions.news()
    assert (stale.thing, stale.state) == (Thing(TransitionKind.MIRROR), "stale")
    another.beat()
    assert transitions.states() == ["mirror  current"]


def test_a_certificate_that_ends_soon_is_noted_once(
    mirrored: MirroredCluster, transitions: Transitions
) -> None:
    soon = datetime.now(UTC) + timedelta(days=13)
    mirrored.beat(certificate_expires_at=soon)
    mirrored.beat(certificate_expires_at=soon)
    assert transitions.states() == ["certificate  expiring"]
    mirrored.beat(certificate_expires_at=soon + timedelta(days=300))
    assert transitions.states() == ["certificate  valid"]


def test_quarantined_documents_are_noted_once(mirrored: MirroredCluster, transitions: Transitions) -> None:
    host = mirrored.filter_units[0]
    for _ in range(2):
        mirrored.quarantine(host, [QuarantinedDocument(uuid4(), 7, "cmssw", "run is missing")])
    (recorded,) = transitions.news()
    assert (recorded.thing, recorded.detail) == (
        Thing(TransitionKind.QUARANTINE, mirrored.label(host)),
        "cmssw: run is missing",
    )


def test_quarantine_of_a_machine_ends_with_its_removal_from_the_settings(
    settings: Settings,
    mirrored: MirroredCluster,
    transitions: Transitions,
    watched: Callable[..., MirroredCluster],
) -> None:
    host, *others = settings.fff_production_machines
    label = mirrored.label(host)
    mirrored.quarantine(host, [QuarantinedDocument(uuid4(), 7, "cmssw", "run is missing")])
    assert transitions.states() == [f"quarantine {label} quarantined"]
    without = watched(replace(settings, fff_production_machines=tuple(others)))
    for _ in range(2):
        without.beat()
    assert transitions.states() == [f"quarantine {label} removed"]
    watched().beat()
    assert transitions.states() == [f"quarantine {label} quarantined"]


def test_a_transition_is_visible_with_its_cause(
    mirrored: MirroredCluster, settings: Settings, transitions: Transitions
) -> None:
    """Neither is written if the transaction fails, as here at its end."""
    host = mirrored.filter_units[0]
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'simulated failure'; END $$;"
                " CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON transitions"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()"
            )
        )
    with pytest.raises(sa.exc.SQLAlchemyError):
        mirrored.write(host, crashed_job(RUN, client="csc"))
    with database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(db.jobs.c.exit_code != 0)) == 0
    assert transitions.recorded() == []
    database.dispose()


def _pass(monkeypatch: pytest.MonkeyPatch, time: timedelta) -> datetime:
    """Let time pass for the watch; returns the present."""
    now = datetime.now(UTC) + time

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            assert tz is UTC
            return now

    monkeypatch.setattr("storage.transition_watch.datetime", Later)
    return now
