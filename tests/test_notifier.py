"""Notifier: transitions reach real receivers on loopback, once each, in order, without secrets in logs."""

import logging
import multiprocessing
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

import db
import dqmsquare_cfg
from dqmsquare_cfg import Cluster, Settings
from grabbing import dispatcher, notifier, receiver_queue, sender_process
from grabbing.notification_message import compose
from grabbing.notifier import Notifier
from storage import receiver_store, transitions
from storage.mutes import MuteSubject, MuteWriter
from storage.receiver_store import ReceiverReader
from storage.transitions import RecordedTransition, Thing, Transition, TransitionKind
from tests.examples import long
from tests.receivers import TOKEN, HttpReceiver, SmtpReceiver
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
RUN = 381_594
# Preloaded, not imported here: only processes that send need it.
PLUGINS = "tests.apprise_plugins"
# Runs a notifier as a grabber does, with a window short enough for a test.
PROGRAM = """
import dqmsquare_cfg, threading
from datetime import timedelta
from dqmsquare_cfg import Cluster
from grabbing import notifier, receiver_queue
if __name__ == "__main__":
    receiver_queue.WINDOW = timedelta(seconds=0.2)
    notifier._POLL_S = 0.05
    running = notifier.Notifier(dqmsquare_cfg.load(), Cluster.PRODUCTION)
    running.set_leader(True)
    threading.Event().wait()
"""


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    """A receiver of notifications over HTTP."""
    with HttpReceiver().running() as receiver:
        yield receiver


@pytest.fixture(scope="module", autouse=True)
def _apprise_imported_once() -> Iterator[None]:
    """Fork the processes that send messages from one that has loaded apprise, most of their work.

    Those of programs import it themselves, as in production.
    """
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([sender_process.__name__, sender_process.MODULE, PLUGINS])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(multiprocessing, "get_context", lambda _method: forking)
        yield


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the intervals of the notifier."""
    monkeypatch.setattr(receiver_queue, "WINDOW", timedelta(seconds=0.1))
    monkeypatch.setattr(notifier, "_POLL_S", 0.05)
    monkeypatch.setattr(dispatcher, "_MUTES_S", 0.1)
    monkeypatch.setattr(dispatcher, "_RETRY_S", 0.1)


class Notes:
    """Writes transitions of clients as the leader does."""

    def __init__(self, settings: Settings) -> None:
        self.database = db.engine(settings, Cluster.PRODUCTION, "tests")

    def note(self, *recorded: Transition) -> None:
        """Write transitions in one transaction."""
        with self.database.begin() as connection:
            transitions.write(connection, recorded)

    def sent(self) -> int:
        """Number of messages that were delivered, as stored."""
        return sum(status.sent for status in ReceiverReader(self.database).notification_receivers())

    def all_delivered(self) -> bool:
        """Whether it is stored for all receivers that every transition was delivered."""
        with self.database.connect() as connection:
            cursors = set(connection.scalars(sa.select(db.notification_receivers.c.cursor)))
            is_taken_in = cursors == {transitions.newest_id(connection)}
        receivers = ReceiverReader(self.database).notification_receivers()
        return is_taken_in and not any(receiver.pending for receiver in receivers)


def client(name: str, state: str, **fields: object) -> Transition:
    """A transition of a client."""
    thing = Thing(TransitionKind.CLIENT, f"{name}_dqm_sourceclient-live")
    is_problem = state in ("crashed", "stuck", "lost", "missing")
    return Transition(thing, state, is_problem, datetime.now(UTC), run=RUN, **fields)  # type: ignore[arg-type]


@pytest.fixture
def configured(environment: dict[str, str]) -> Callable[..., Settings]:
    """A function that returns settings with these receivers."""

    def load(urls: str, rules: str = "") -> Settings:
        return dqmsquare_cfg.load({**environment, "NOTIFY_URLS": urls, "NOTIFY_RULES": rules})

    return load


@contextmanager
def notifying(settings: Settings) -> Iterator[Notes]:
    """A notifier that is at work."""
    running = Notifier(settings, Cluster.PRODUCTION)
    running.set_leader(True)
    notes = Notes(settings)
    until(lambda: len(ReceiverReader(notes.database).notification_receivers()) == len(settings.notify_urls))
    try:
        yield notes
    finally:
        running.stop(sender_process.TIMEOUT_S)
        notes.database.dispose()


def test_it_sends_what_happens_together_as_one_message(
    configured: Callable[..., Settings], http: HttpReceiver
) -> None:
    with notifying(configured(f"shift={http.url}")) as notes:
        crash = client("csc", "crashed", is_new_group=True, crash_group="1f", detail="Fatal @all <!here>")
        notes.note(crash, client("dt", "crashed"), client("ecal", "stuck"))
        until(lambda: notes.sent() == 1)
        notes.note(client("ecal", "running"))
        until(lambda: notes.sent() == 2)
    first, second = http.bodies
    assert f"csc, dt crashed in run {RUN} – new: Fatal @\u200ball ‹!here›\n" in first
    assert f"ecal is stuck in run {RUN}\n" in first
    assert first.endswith(f"/?db=production&run={RUN}")
    assert f"ecal runs again in run {RUN}\n" in second


def test_it_sends_nothing_that_happened_before_or_is_initial(
    configured: Callable[..., Settings], http: HttpReceiver
) -> None:
    settings = configured(http.url)
    Notes(settings).note(client("csc", "crashed"))
    with notifying(settings) as notes:
        notes.note(client("dt", "stuck", is_initial=True), client("csc", "running"))
        notes.note(client("ecal", "lost"))
        until(lambda: notes.sent() == 1)
    assert [re.findall(r"csc|dt|ecal", body) for body in http.bodies] == [["ecal", "ecal"]]


def test_it_sends_mails(configured: Callable[..., Settings]) -> None:
    with SmtpReceiver().running() as smtp, notifying(configured(f"mail={smtp.url}")) as notes:
        notes.note(
            Transition(Thing(TransitionKind.GATEWAY), "down", is_problem=True, occurred_at=datetime.now(UTC))
        )
        until(lambda: notes.sent() == 1)
    (mail,) = smtp.texts
    assert mail.startswith("DQM² production: DQM² is down")
    assert "/cluster/?db=production" in mail


def test_a_receiver_is_sent_what_its_rules_accept(
    configured: Callable[..., Settings], http: HttpReceiver
) -> None:
    rules = "one: kind=crashed client=c* group=new; two: cluster=playback"
    with HttpReceiver().running() as other:
        with notifying(configured(f"one={http.url} two={other.url}", rules)) as notes:
            notes.note(
                client("csc", "crashed", is_new_group=False),
                client("dt", "crashed", is_new_group=True),
                client("cpu", "stuck"),
                client("ctpps", "crashed", is_new_group=True),
            )
            until(lambda: notes.sent() == 1)
            notes.note(*(client(name, "running") for name in ("csc", "dt", "cpu", "ctpps")))
            until(lambda: notes.sent() == 2)
        assert other.attempts == 0
    assert all(re.findall(r"csc|dt|cpu|ctpps", body) == ["ctpps", "ctpps"] for body in http.bodies)


def test_a_muted_problem_is_not_sent_but_its_end_is(
    configured: Callable[..., Settings], http: HttpReceiver
) -> None:
    with notifying(configured(http.url)) as notes:
        mutes, muted = MuteWriter(notes.database), MuteSubject("csc_dqm_sourceclient-live")
        mutes.mute(muted, "known", "expert", timedelta(hours=1))
        notes.note(client("csc", "stuck"), client("dt", "stuck"))
        until(lambda: notes.sent() == 1)
        assert "csc" not in http.bodies[0]
        notes.note(client("csc", "running"))
        until(lambda: notes.sent() == 2)
        assert "csc runs again" in http.bodies[1]


def test_a_problem_that_outlasts_its_mute_is_sent(
    configured: Callable[..., Settings], http: HttpReceiver
) -> None:
    with notifying(configured(http.url)) as notes:
        mutes = MuteWriter(notes.database)
        muted = MuteSubject("csc_dqm_sourceclient-live", "1f")
        mutes.mute(muted, "known", "expert", timedelta(hours=1))
        notes.note(client("csc", "crashed", crash_group="1f"), client("dt", "stuck"))
        until(lambda: notes.sent() == 1)
        assert "csc" not in http.bodies[0]
        mutes.unmute(muted)
        until(lambda: notes.sent() == 2)
        assert f"csc crashed in run {RUN}, muted until now" in http.bodies[1]


def test_another_crash_of_a_client_with_a_muted_one_is_sent(
    configured: Callable[..., Settings], http: HttpReceiver
) -> None:
    with notifying(configured(http.url)) as notes:
        known = MuteSubject("csc_dqm_sourceclient-live", "1f")
        MuteWriter(notes.database).mute(known, "known", "expert", timedelta(hours=1))
        notes.note(client("csc", "crashed", crash_group="1f"), client("dt", "stuck"))
        until(lambda: notes.sent() == 1)
        notes.note(client("csc", "crashed", crash_group="2f"))
        until(lambda: notes.sent() == 2)
        assert f"csc crashed in run {RUN}\n" in http.bodies[1]


def test_it_says_in_the_plural_what_several_clients_did() -> None:
    began, ended = (client("csc", state) for state in ("stuck", "running"))
    both = [RecordedTransition(number, began.occurred_at, each) for number, each in enumerate((began, ended))]
    things = [began.thing, replace(began.thing, subject="dt_dqm_sourceclient-live")]

    def first_line(recorded: list[RecordedTransition], muted: list[Thing]) -> str:
        message = compose(Cluster.PRODUCTION, dict.fromkeys(things, recorded), muted=muted, base_url="")
        return message.body.partition("\n")[0]

    assert first_line(both, []) == f"csc, dt are stuck in run {RUN}, and run again"
    assert first_line(both[1:], things) == f"csc, dt run again in run {RUN}, while they were muted"


def test_it_says_of_a_removed_machine_that_its_documents_are_given_up() -> None:
    of_machine = Transition(
        thing=Thing(TransitionKind.QUARANTINE, "dqmfu-c2b03-.."),
        state="quarantined",
        is_problem=True,
        occurred_at=datetime.now(UTC),
    )
    both = [of_machine, replace(of_machine, state="removed", is_problem=False)]
    recorded = [RecordedTransition(number, each.occurred_at, each) for number, each in enumerate(both)]
    message = compose(Cluster.PRODUCTION, {of_machine.thing: recorded}, base_url="")
    assert message.body.partition("\n")[0] == (
        "documents of dqmfu-c2b03-.. could not be stored, and are no longer retried,"
        " since their machine was removed from the settings"
    )


def test_a_dead_receiver_delays_nobody_and_is_retried(
    configured: Callable[..., Settings],
    http: HttpReceiver,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with HttpReceiver().running() as hanging, HttpReceiver().running() as failing:
        hanging.hangs, failing.status = True, 404
        urls = f"hanging={hanging.url}?rto=1 failing={failing.url} well={http.url}"
        with caplog.at_level(logging.DEBUG), notifying(configured(urls)) as notes:
            notes.note(client("csc", "stuck"))
            until(lambda: http.bodies)
            until(lambda: failing.attempts > 1 and hanging.attempts > 1)
            statuses = {
                status.name: status for status in ReceiverReader(notes.database).notification_receivers()
            }
            assert statuses["failing"].reason == "not delivered: status 404"
            assert statuses["failing"].failing_since is not None
            assert statuses["failing"].pending == 1
            hanging.hangs, failing.status = False, 200
            hanging.released.set()
            until(lambda: notes.sent() == 3)
        assert len(http.bodies) == len(failing.bodies) == 1
        assert len(set(hanging.bodies)) == 1
    written = caplog.text + "".join(capfd.readouterr())
    assert "receiver=failing" in written
    assert TOKEN not in written
    assert "127.0.0.1" not in written


def test_it_drops_and_reports_what_could_not_be_sent_for_a_day(
    configured: Callable[..., Settings],
    http: HttpReceiver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    http.status = 500
    monkeypatch.setattr(receiver_queue, "KEEP", timedelta(seconds=1))
    with notifying(configured(f"shift={http.url}")) as notes:
        notes.note(client("csc", "stuck"))
        until(lambda: ReceiverReader(notes.database).notification_receivers()[0].dropped == 1)
        # The next one is not dropped, however slow the machine.
        monkeypatch.setattr(receiver_queue, "KEEP", timedelta(days=1))
        http.status = 200
        notes.note(client("dt", "stuck"))
        until(lambda: http.bodies)
        assert "csc" not in http.bodies[0]
    assert "notifications_dropped cluster=production receiver=shift things=1" in caplog.text


def test_it_skips_what_another_release_has_stored(
    configured: Callable[..., Settings], http: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    settings = configured(f"shift={http.url}")
    with notifying(settings) as notes:
        database = notes.database
        thing: dict[str, object] = {
            "reported": None,
            "muted": None,
            "pending": [],
            "first_at": 0,
            "beginnings": [],
        }
        things = {
            "satellite x": {**thing, "is_beginning": False},
            "client x": {**thing, "is_beginning": False, "color": "red"},
            "client y": thing,
        }
    with database.begin() as connection:
        connection.execute(sa.update(db.notification_receivers).values(things=things))
    caplog.set_level(logging.WARNING)
    with notifying(settings) as notes:
        notes.note(client("csc", "crashed"), replace(client("dt", "on strike"), is_problem=True))
        until(lambda: notes.sent() == 1)
    assert f"dt is on strike in run {RUN}\n" in http.bodies[-1]
    assert 'notifications_skipped cluster=production receiver=shift things=3 reason="' in caplog.text


def test_it_continues_after_an_unexpected_error(
    configured: Callable[..., Settings],
    http: HttpReceiver,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The receiver concerned is served again after a pause, the other one at once."""
    failures = 2
    accepts = receiver_queue.ReceiverQueue.due

    def fail(queue: receiver_queue.ReceiverQueue, now: datetime) -> dict[Thing, list[int]]:
        nonlocal failures
        if queue.pending and failures:
            failures -= 1
            raise KeyError("satellite")
        return accepts(queue, now)

    monkeypatch.setattr(receiver_queue.ReceiverQueue, "due", fail)
    monkeypatch.setattr(notifier, "_ERROR_PAUSE_S", 0.1)
    before = errors()
    with notifying(configured(f"shift={http.url} oncall={http.url}")) as notes:
        notes.note(client("csc", "crashed"))
        until(lambda: notes.sent() == 2)
    assert errors() - before == 2
    assert "notifier_failed cluster=production receiver=" in caplog.text
    assert TOKEN not in caplog.text


def test_it_continues_after_an_unexpected_error_at_its_start(
    configured: Callable[..., Settings], http: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [KeyError("satellite")]
    rules_for = receiver_queue.rules_for

    def fail(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return rules_for(*args)

    monkeypatch.setattr(notifier, "rules_for", fail)
    monkeypatch.setattr(notifier, "_ERROR_PAUSE_S", 0.1)
    with notifying(configured(http.url)) as notes:
        until(lambda: not failures)
        until(notes.all_delivered)
        notes.note(client("csc", "crashed"))
        until(lambda: notes.sent() == 1)


@pytest.mark.parametrize("is_stored", [False, True])
def test_it_continues_after_the_database_failed_while_a_delivery_was_recorded(
    configured: Callable[..., Settings],
    http: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_stored: bool,
) -> None:
    """`is_stored`: the delivery was stored all the same, as it is if only the response was lost."""
    save = receiver_store.save
    failures = [sa.exc.OperationalError("UPDATE", {}, Exception("the connection was lost"))]

    def fail(connection: sa.Connection, name: str, values: dict[str, Any]) -> None:
        is_failing = bool(failures) and "last_success_at" in values
        if is_stored or not is_failing:
            save(connection, name, values)
        if is_failing:
            raise failures.pop()

    monkeypatch.setattr(receiver_store, "save", fail)
    monkeypatch.setattr(notifier, "_RECONNECT_S", 0.1)
    with notifying(configured(http.url)) as notes:
        notes.note(client("csc", "crashed"))
        until(lambda: not failures)
        until(notes.all_delivered)
        notes.note(client("dt", "crashed"))
        until(lambda: len(http.bodies) == 2)
    assert "dt" in http.bodies[1]
    assert "csc" not in http.bodies[1]


@pytest.mark.parametrize("field", ["beginnings", "first_at"])
def test_a_clock_that_was_ahead_delays_no_message(field: str) -> None:
    now = datetime.now(UTC)
    ahead = (now + timedelta(days=30)).timestamp()
    thing = {"reported": None, "muted": None, "pending": [1], "first_at": 0, "is_beginning": True}
    stored = {"client csc": {**thing, "beginnings": [], field: [ahead] if field == "beginnings" else ahead}}
    queue = receiver_queue.ReceiverQueue(Cluster.PRODUCTION, [], stored)
    assert queue.due(now) == {}
    assert len(queue.due(now + timedelta(minutes=2))) == 1


def errors() -> float:
    """The number of unexpected errors that notifiers of this process counted."""
    return REGISTRY.get_sample_value("dqmsquare_notifier_errors_total", {"cluster": "production"}) or 0.0


def test_its_counters_are_exported_before_they_count(configured: Callable[..., Settings]) -> None:
    with notifying(configured("untried=json://127.0.0.1:1")):
        labels = {"cluster": "production", "receiver": "untried"}
        names = ("notifications_sent", "notification_failures", "notifications_dropped")
        assert [REGISTRY.get_sample_value(f"dqmsquare_{name}_total", labels) for name in names] == [0, 0, 0]


def test_another_notifier_takes_over_without_repeating(
    configured: Callable[..., Settings], http: HttpReceiver
) -> None:
    settings = configured(http.url)
    for number in range(3):
        with notifying(settings) as notes:
            notes.note(client(f"client{number}", "stuck"))
            until(lambda expected=number + 1: notes.sent() == expected)  # type: ignore[misc]
    assert [re.findall(r"client\d", body)[0] for body in http.bodies] == ["client0", "client1", "client2"]


def test_a_second_notifier_waits(configured: Callable[..., Settings], http: HttpReceiver) -> None:
    settings = configured(http.url)
    with notifying(settings) as notes, notifying(settings):
        for number in range(3):
            notes.note(client(f"client{number}", "stuck"))
            until(lambda expected=number + 1: notes.sent() == expected)  # type: ignore[misc]
    assert len(http.bodies) == 3


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(1, id="while it delivers"),
        long(3, id="any time"),
    ],
)
def test_nothing_is_lost_and_repeated_only_across_a_kill(
    environment: dict[str, str], configured: Callable[..., Settings], http: HttpReceiver, kills: int
) -> None:
    """Each message is delivered once, and again after each kill that came before its delivery was stored."""
    settings = configured(http.url)
    with notifying(settings) as notes:
        program = [sys.executable, "-c", PROGRAM]
    notes = Notes(settings)
    undelivered: set[str] = set()
    repeats: Counter[str] = Counter()
    for number in range(kills):
        process = subprocess.Popen(program, cwd=ROOT, env={**environment, "NOTIFY_URLS": http.url})
        with notes.database.connect() as connection:
            until(lambda c=connection: _is_locked(c))  # type: ignore[misc]
        notes.note(client(f"client{number}", "stuck"))
        undelivered.add(f"client{number}")
        attempts = http.attempts
        # Killed while it delivers, once that is stored, and whatever it does.
        match number % 3:
            case 0:
                until(lambda before=attempts: http.attempts > before)  # type: ignore[misc]
            case 1:
                until(notes.all_delivered)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with notes.database.connect() as connection:
            until(lambda c=connection: not _is_locked(c))  # type: ignore[misc]
        if notes.all_delivered():
            undelivered.clear()
        repeats.update(undelivered)
    with notifying(settings):
        until(lambda: _names(http) == {f"client{number}" for number in range(kills)})
        until(notes.all_delivered)
    counts = Counter(name for body in http.bodies for name in set(re.findall(r"client\d", body)))
    assert {name: times for name, times in counts.items() if times > 1 + repeats[name]} == {}


def _names(http: HttpReceiver) -> set[str]:
    return {name for body in http.bodies for name in re.findall(r"client\d", body)}


def _is_locked(connection: sa.Connection) -> bool:
    """Whether a notifier is at work."""
    locks = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :key")
    found = connection.scalar(locks, {"key": db.NOTIFIER_LOCK})
    connection.rollback()
    return bool(found)
