"""Carries out the Control Room's orders: in turn, recorded before and after, sent once, and told as it is.

An answer proves little, and no answer proves nothing. So what is told says what is known: that DQM² says Ok,
that it failed and may have done anything before, that nobody knows, that nothing was sent.
"""

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from uuid import UUID

from prometheus_client import Counter

from dqm2 import command_responses
from dqm2.command_client import CommandClient, NotSent, OutcomeUnknown, RawResponse
from dqm2.command_responses import ClientList, CommandResponse, DaemonLogs, RunKeyList, SimulatorRuns
from dqm2.commands import COMMANDS, Command, Parameter
from dqm2.errors import Dqm2Error, Dqm2Failed, Dqm2InvalidResponse, Dqm2Refused
from dqmsquare_cfg import Settings
from runtime import logging_setup
from storage.audit_log import AuditedAction, AuditLog, CommandInProgress, DuplicateSubmission, Outcome
from storage.command_queue import CommandQueue, Place, QueueTimeout, QueueUnavailable
from web.control_room.command_validation import Order
from web.control_room.databases import NOT_WRITTEN
from web.control_room.machine_labels import MachineLabels
from web.control_room.sessions import Expert, Sessions

log = logging.getLogger(__name__)

commands_by_outcome = Counter(
    "dqmsquare_control_commands_total", "Control commands by how they ended", ["command", "outcome"]
)

# So many at a time may wait in one server process; each has a thread of its own
# (`web/serving/thread_places.py`).
MOST_PLACES = 24
_MOST_WAIT_S = 300.0
# The gateway's question to all machines costs them much: protocol, "get_cluster_status".
_STATUS_EVERY_S = 30

_LOOK_FIRST = "Look before you try again."
_NO_LINE = "The database that commands wait in line in can't be reached"
_SESSION_OVER = "Your session ended before it was this command's turn: nothing was sent."
_NO_AUDIT = "The audit can't be written"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an order: an outcome, a sentence for people, a status for scripts, and what came back.

    `answer` is there where it has the shape that it must have; `text` is what DQM² said, whatever that is.
    """

    order: Order
    outcome: Outcome
    sentence: str
    status: int
    answer: CommandResponse | None = None
    text: str = ""
    is_recorded: bool = True


class Relay:
    """Carries out orders. May be used by several threads at once."""

    def __init__(
        self,
        settings: Settings,
        audit: AuditLog,
        line: CommandQueue,
        labels: MachineLabels,
        sessions: Sessions,
    ) -> None:
        self._settings = settings
        self._audit = audit
        self._line = line
        self._labels = labels
        self._sessions = sessions
        self._relay = CommandClient(settings)
        self._places = threading.BoundedSemaphore(MOST_PLACES)

    def carry_out(self, order: Order, expert: Expert, once: UUID | None) -> Report:
        """Carries out an order once it is its turn; what `once` marks is carried out once.

        Raises DatabaseUnavailable if it can't be recorded; nothing is sent then.
        """
        if order.command.is_local:
            self._audit.record(self.deed(order, expert), Outcome.OK)
            return self._own(order)
        deed = self.deed(order, expert, once)
        began_at = time.monotonic()
        report = self._if_there_is_room(order, deed, expert)
        self._tell(report, deed, time.monotonic() - began_at)
        return report

    def deed(self, order: Order, expert: Expert, once: UUID | None = None) -> AuditedAction:
        """An order as the audit has it: its machine by the label."""
        return AuditedAction(
            order.command.what,
            username=expert.person,
            cmsweb_login=expert.login,
            is_change=order.command.is_change,
            cluster=order.cluster,
            machine=None if order.host is None else self._labels.label(order.host),
            parameters={
                name.value: value for name, value in order.values.items() if name is not Parameter.HOST
            },
            idempotency_key=once,
        )

    def _if_there_is_room(self, order: Order, deed: AuditedAction, expert: Expert) -> Report:
        if not self._places.acquire(blocking=False):
            sentence = "So many commands wait that this one can't."
            return self._noted(deed, _refused(order, sentence, HTTPStatus.SERVICE_UNAVAILABLE))
        try:
            return self._in_line(order, deed, expert)
        finally:
            self._places.release()

    def _in_line(self, order: Order, deed: AuditedAction, expert: Expert) -> Report:
        try:
            with self._line.place() as place:
                entry = self._audit.begin(deed, place.desk)
                return self._recorded(entry, self._in_turn(order, place, entry, expert))
        except QueueUnavailable:
            return self._noted(deed, _not_sent(order, _NO_LINE))
        except DuplicateSubmission:
            sentence = "This press of the button was received already."
            return self._noted(deed, _refused(order, sentence, HTTPStatus.CONFLICT))
        except CommandInProgress as other:
            return self._noted(deed, _refused(order, _under_way(other), HTTPStatus.CONFLICT))

    def _noted(self, deed: AuditedAction, report: Report) -> Report:
        """Records what got no place in the line; its press may come again."""
        self._audit.record(replace(deed, idempotency_key=None), report.outcome, report.sentence)
        return report

    def _in_turn(self, order: Order, place: Place, entry: int, expert: Expert) -> Report:
        try:
            with place.turn(_MOST_WAIT_S):
                return self._prepared(order, entry, expert) or self._sent(order)
        except QueueTimeout:
            return _not_sent(order, f"Its turn did not come within {_MOST_WAIT_S:.0f} s")
        except QueueUnavailable:
            return _not_sent(order, _NO_LINE)

    def _prepared(self, order: Order, entry: int, expert: Expert) -> Report | None:
        """Does what comes before it is sent; a report if it can't be."""
        try:
            if not self._sessions.goes_on(expert):
                return _refused(order, _SESSION_OVER, HTTPStatus.UNAUTHORIZED)
            if report := self._unfit(order):
                return report
            self._audit.mark_sent(entry)
        except NOT_WRITTEN:
            return _not_sent(order, _NO_AUDIT)
        return None

    def _unfit(self, order: Order) -> Report | None:
        """Looks whether what is named exists, as DQM²'s own lists have it; a report if it can't be sent."""
        match order.command.what:
            case "get_cluster_status":
                return self._not_too_soon(order)
            case "change_dqm_client":
                listed = self._listed("get_dqm_clients", order, (Parameter.HOST, Parameter.PLAYBACK))
                return _member(order, Parameter.CLIENT, listed, "client is none of that machine's.")
            case "start_playback_run":
                listed = self._listed("get_simulator_runs", order, (Parameter.HOST,))
                return _member(
                    order, Parameter.RUN_NUMBER, listed, "run_number is no run of the simulator's."
                )
        return None

    def _not_too_soon(self, order: Order) -> Report | None:
        since = self._audit.time_since_sent(order.command.what, order.cluster or "")
        if since is None or since.total_seconds() >= _STATUS_EVERY_S:
            return None
        left_s = _STATUS_EVERY_S - int(since.total_seconds())
        sentence = (
            f"This was asked less than {_STATUS_EVERY_S} s ago, and it costs every machine much. "
            f"Ask again in {left_s} s."
        )
        return _refused(order, sentence, HTTPStatus.TOO_MANY_REQUESTS)

    def _listed(self, what: str, order: Order, parameters: Sequence[Parameter]) -> Sequence[str] | None:
        """What DQM² lists; `None` where it doesn't. An error's text in the list's place is no list."""
        question = Order(COMMANDS[what], {name: order.values[name] for name in parameters}, order.cluster)
        try:
            raw = self._relay.send(question.query, question.command.limits)
            answer = command_responses.parse(what, raw)
        except Dqm2Error as error:
            log.warning("no list what=%s reason=%s", what, logging_setup.quote_value(error))
            return None
        match answer:
            case ClientList(clients) if clients:
                return [client.name for client in clients]
            case SimulatorRuns(runs) if runs:
                return runs
        return None

    def _sent(self, order: Order) -> Report:
        command = order.command
        try:
            raw = self._relay.send(order.query, command.limits)
        except NotSent as error:
            log.warning("command not sent what=%s reason=%s", command.what, logging_setup.quote_value(error))
            return _not_sent(order, "DQM² can't be reached")
        except Dqm2Refused as error:
            log.warning("command denied what=%s reason=%s", command.what, logging_setup.quote_value(error))
            return _report(order, Outcome.DENIED, "DQM² turned the mirror away. Nothing was done.")
        except Dqm2Failed as error:
            return _report(order, Outcome.FAILED, _failed(command, error))
        except OutcomeUnknown as error:
            return _report(order, Outcome.UNKNOWN, _unanswered(command, error))
        return _answered(order, raw)

    def _recorded(self, entry: int, report: Report) -> Report:
        try:
            self._audit.complete(entry, report.outcome, report.sentence)
        except NOT_WRITTEN:
            log.exception(
                "outcome not recorded entry=%d outcome=%s", entry, logging_setup.quote_value(report.outcome)
            )
            return replace(report, is_recorded=False)
        return report

    def _own(self, order: Order) -> Report:
        keys = self._settings.server_simulator_run_keys
        return Report(
            order, Outcome.OK, "The mirror's own list.", HTTPStatus.OK, RunKeyList(keys), json.dumps(keys)
        )

    def _tell(self, report: Report, deed: AuditedAction, seconds: float) -> None:
        commands_by_outcome.labels(deed.command, report.outcome).inc()
        log.info(
            "command what=%s machine=%s person=%s outcome=%s seconds=%.1f",
            deed.command,
            logging_setup.quote_value(deed.machine or "-"),
            logging_setup.quote_value(deed.username or "-"),
            logging_setup.quote_value(report.outcome),
            seconds,
        )


_STATUS_OF = {
    Outcome.OK: HTTPStatus.OK,
    Outcome.UNEXPECTED_RESPONSE: HTTPStatus.BAD_GATEWAY,
    Outcome.FAILED: HTTPStatus.BAD_GATEWAY,
    Outcome.DENIED: HTTPStatus.BAD_GATEWAY,
    Outcome.UNKNOWN: HTTPStatus.GATEWAY_TIMEOUT,
    Outcome.NOT_SENT: HTTPStatus.SERVICE_UNAVAILABLE,
}


def _report(order: Order, outcome: Outcome, sentence: str) -> Report:
    return Report(order, outcome, sentence, _STATUS_OF[outcome])


def _not_sent(order: Order, reason: str) -> Report:
    return _report(order, Outcome.NOT_SENT, f"{reason}: nothing was sent.")


def _refused(order: Order, sentence: str, status: int) -> Report:
    return Report(order, Outcome.REFUSED, sentence, status)


def _member(order: Order, parameter: Parameter, listed: Sequence[str] | None, refusal: str) -> Report | None:
    if listed is None:
        return _not_sent(order, f"DQM² does not tell its own list, by which {parameter} is checked")
    if order.values[parameter] not in listed:
        return _refused(order, refusal, HTTPStatus.BAD_REQUEST)
    return None


def _answered(order: Order, raw: RawResponse) -> Report:
    text = command_responses.decode_text(raw)
    try:
        answer = command_responses.parse(order.command.what, raw)
    except Dqm2InvalidResponse as error:
        return replace(
            _report(order, Outcome.UNEXPECTED_RESPONSE, _otherwise(order.command, error)), text=text
        )
    if isinstance(answer, DaemonLogs):
        # What is left of a list that was cut is whole again.
        text = json.dumps([file.text for file in answer.files])
    sentence = "DQM² says Ok." if order.command.is_change else "DQM² answered."
    return replace(_report(order, Outcome.OK, sentence), answer=answer, text=text)


def _otherwise(command: Command, error: Dqm2InvalidResponse) -> str:
    if command.is_change:
        return f"DQM² did not say Ok. What it did is unknown. {_LOOK_FIRST}"
    return f"DQM² answered something else: {error}."


def _failed(command: Command, error: Dqm2Failed) -> str:
    if command.is_change:
        return f"DQM² failed: it {error}. What it did before that is unknown. {_LOOK_FIRST}"
    return f"DQM² failed: it {error}."


def _unanswered(command: Command, error: OutcomeUnknown) -> str:
    if command.is_change:
        return f"Outcome unknown: {error}. {_LOOK_FIRST}"
    return f"No answer that is of use: {error}."


def _under_way(other: CommandInProgress) -> str:
    return f"{other.entry.action.username} has asked for the same already, and that is still under way."
