"""Execution of the Control Room's commands: queued, audited before and after, and sent once.

A response of DQM² proves little and a missing one proves nothing, so a result claims only what is known: DQM²
says Ok, DQM² failed and may have done part of it, the outcome is unknown, or nothing was sent.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy.exc import SQLAlchemyError

from dqm2 import command_responses
from dqm2.command_client import CommandClient, NotSent, OutcomeUnknown, RawResponse
from dqm2.command_responses import ClientList, CommandResponse, DaemonLogs, RunKeyList, SimulatorRuns
from dqm2.commands import COMMANDS, Command, Parameter
from dqm2.errors import Dqm2Error, Dqm2Failed, Dqm2InvalidResponse, Dqm2Refused
from dqmsquare_cfg import Settings
from runtime import logging_setup
from storage.audit_log import AuditedAction, AuditLog, CommandInProgress, DuplicateSubmission, Outcome
from storage.command_queue import CommandQueue, QueueTimeout, QueueUnavailable, Ticket
from web import access_log
from web.control_room.command_validation import ValidatedCommand
from web.control_room.sessions import Expert, Sessions
from web.limits import MAX_QUEUED_COMMANDS

log = logging.getLogger(__name__)

commands_by_outcome = Counter(
    "dqmsquare_control_commands_total", "Control commands by outcome", ["command", "outcome"]
)

_MAX_QUEUE_WAIT_S = 300.0
# Each status query makes the gateway contact every machine (docs/dqm2-protocol.md, "get_cluster_status").
_MIN_STATUS_INTERVAL_S = 30

_CHECK_FIRST = "Check its effect before you try again."
_QUEUE_UNAVAILABLE = "The database of the command queue can't be reached"
_CLIENT_LEFT = "Its sender left before its turn"
_SESSION_ENDED = "Your session ended while this command was queued: nothing was sent."
_AUDIT_UNAVAILABLE = "The audit can't be written"
_STATUS_OF = {
    Outcome.OK: HTTPStatus.OK,
    Outcome.UNEXPECTED_RESPONSE: HTTPStatus.BAD_GATEWAY,
    Outcome.FAILED: HTTPStatus.BAD_GATEWAY,
    Outcome.DENIED: HTTPStatus.BAD_GATEWAY,
    Outcome.UNKNOWN: HTTPStatus.GATEWAY_TIMEOUT,
    Outcome.NOT_SENT: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command: outcome, message for people, HTTP status for scripts, and DQM²'s response.

    `response` is set if DQM²'s response has the expected form; `text` is the response as text in any case.
    """

    command: ValidatedCommand
    outcome: Outcome
    message: str
    status: int
    response: CommandResponse | None = None
    text: str = ""
    is_recorded: bool = True


class CommandExecutor:
    """Executes commands. May be used by several threads at once."""

    def __init__(
        self,
        settings: Settings,
        audit: AuditLog,
        queue: CommandQueue,
        machine_label: Callable[[str], str],
        sessions: Sessions,
    ) -> None:
        self._run_keys = settings.server_simulator_run_keys
        self._audit = audit
        self._queue = queue
        self._machine_label = machine_label
        self._sessions = sessions
        self._client = CommandClient(settings)
        self._slots = threading.BoundedSemaphore(MAX_QUEUED_COMMANDS)

    def execute(
        self, command: ValidatedCommand, expert: Expert, idempotency_key: UUID | None
    ) -> CommandResult:
        """Execute a command when its turn comes. A repeated idempotency key is refused.

        Raises DatabaseUnavailable if the command can't be recorded, and then sends nothing.
        """
        action = self.action(command, expert, idempotency_key)
        started_at = time.monotonic()
        if command.spec.is_local:
            result = self._run_key_list(command, action)
        else:
            result = self._execute_in_slot(command, action, expert)
        commands_by_outcome.labels(action.command, result.outcome).inc()
        log.info(
            "command_finished command=%s machine=%s username=%s outcome=%s seconds=%.1f",
            action.command,
            logging_setup.quote_value(action.machine or "-"),
            logging_setup.quote_value(action.username or "-"),
            logging_setup.quote_value(result.outcome),
            time.monotonic() - started_at,
        )
        return result

    def action(
        self, command: ValidatedCommand, expert: Expert, idempotency_key: UUID | None = None
    ) -> AuditedAction:
        """A command as the audit records it, with the machine's label instead of its name."""
        return replace(
            expert.action(command.spec.what),
            cluster=command.cluster,
            machine=None if command.host is None else self._machine_label(command.host),
            parameters={
                name.value: value for name, value in command.parameters.items() if name is not Parameter.HOST
            },
            idempotency_key=idempotency_key,
        )

    def _execute_in_slot(
        self, command: ValidatedCommand, action: AuditedAction, expert: Expert
    ) -> CommandResult:
        if not self._slots.acquire(blocking=False):
            message = "Too many commands are queued. Try again later."
            return self._record_unqueued(action, _refused(command, message, HTTPStatus.SERVICE_UNAVAILABLE))
        try:
            return self._execute_queued(command, action, expert)
        finally:
            self._slots.release()

    def _execute_queued(
        self, command: ValidatedCommand, action: AuditedAction, expert: Expert
    ) -> CommandResult:
        try:
            with self._queue.join() as ticket:
                entry = self._audit.begin(action, ticket.worker_id)
                return self._complete(entry, self._await_turn_and_send(command, ticket, entry, expert))
        except QueueUnavailable:
            result = _not_sent(command, _QUEUE_UNAVAILABLE)
        except DuplicateSubmission:
            message = "This request has already been received."
            result = _refused(command, message, HTTPStatus.CONFLICT)
        except CommandInProgress as other:
            message = (
                f"{other.entry.action.username} has already requested this, and it is still in progress."
            )
            result = _refused(command, message, HTTPStatus.CONFLICT)
        return self._record_unqueued(action, result)

    def _record_unqueued(self, action: AuditedAction, result: CommandResult) -> CommandResult:
        # Without its idempotency key: the same request may be sent again.
        self._audit.record(replace(action, idempotency_key=None), result.outcome, result.message)
        return result

    def _await_turn_and_send(
        self, command: ValidatedCommand, ticket: Ticket, entry: int, expert: Expert
    ) -> CommandResult:
        try:
            with self._queue.hold(ticket, _MAX_QUEUE_WAIT_S):
                return self._prepare(command, entry, expert) or self._send(command)
        except QueueTimeout:
            return _not_sent(command, f"Its turn did not come within {_MAX_QUEUE_WAIT_S:.0f} s")
        except QueueUnavailable:
            return _not_sent(command, _QUEUE_UNAVAILABLE)

    def _prepare(self, command: ValidatedCommand, entry: int, expert: Expert) -> CommandResult | None:
        """Check the command once more and mark it as sent. Return a result if it must not be sent."""
        try:
            if not self._sessions.is_valid(expert):
                return _refused(command, _SESSION_ENDED, HTTPStatus.UNAUTHORIZED)
            if result := self._check_target(command):
                return result
            if access_log.client_has_left():
                return _not_sent(command, _CLIENT_LEFT)
            self._audit.mark_sent(entry)
        except SQLAlchemyError:
            return _not_sent(command, _AUDIT_UNAVAILABLE)
        return None

    def _check_target(self, command: ValidatedCommand) -> CommandResult | None:
        """Check against DQM²'s own lists that what the command names exists. Return a result if not."""
        match command.spec.what:
            case "get_cluster_status":
                return self._check_status_interval(command)
            case "change_dqm_client":
                names = self._listed_names("get_dqm_clients", command, (Parameter.HOST, Parameter.PLAYBACK))
                return _check_listed(
                    command, Parameter.CLIENT, names, "client is not a client of this machine."
                )
            case "start_playback_run":
                names = self._listed_names("get_simulator_runs", command, (Parameter.HOST,))
                return _check_listed(
                    command, Parameter.RUN_NUMBER, names, "run_number is not a run of the simulator."
                )
        return None

    def _check_status_interval(self, command: ValidatedCommand) -> CommandResult | None:
        elapsed = self._audit.time_since_sent(command.spec.what, command.cluster or "")
        if elapsed is None or elapsed.total_seconds() >= _MIN_STATUS_INTERVAL_S:
            return None
        remaining_s = _MIN_STATUS_INTERVAL_S - int(elapsed.total_seconds())
        message = (
            f"The status was requested less than {_MIN_STATUS_INTERVAL_S} s ago, and each request is "
            f"expensive for all machines. Try again in {remaining_s} s."
        )
        return _refused(command, message, HTTPStatus.TOO_MANY_REQUESTS)

    def _listed_names(
        self, list_command: str, command: ValidatedCommand, parameters: Sequence[Parameter]
    ) -> Sequence[str] | None:
        """DQM²'s list of names; `None` without one. An error text in its place is not a list."""
        query = ValidatedCommand(
            COMMANDS[list_command], {name: command.parameters[name] for name in parameters}, command.cluster
        )
        try:
            raw = self._client.send(query.query, query.spec.limits)
            response = command_responses.parse(list_command, raw)
        except Dqm2Error as error:
            log.warning(
                "command_not_sent command=%s reason=%s", command.spec.what, logging_setup.quote_value(error)
            )
            return None
        match response:
            case ClientList(clients) if clients:
                return [client.name for client in clients]
            case SimulatorRuns(runs) if runs:
                return runs
        return None

    def _send(self, command: ValidatedCommand) -> CommandResult:
        spec = command.spec
        try:
            raw = self._client.send(command.query, spec.limits)
        except NotSent as error:
            log.warning("command_not_sent command=%s reason=%s", spec.what, logging_setup.quote_value(error))
            return _not_sent(command, "DQM² can't be reached")
        except Dqm2Refused as error:
            log.warning("command_denied command=%s reason=%s", spec.what, logging_setup.quote_value(error))
            return _result(command, Outcome.DENIED, "DQM² denied access to the mirror. Nothing was done.")
        except Dqm2Failed as error:
            return _result(command, Outcome.FAILED, _failure_message(spec, error))
        except OutcomeUnknown as error:
            return _result(command, Outcome.UNKNOWN, _unknown_message(spec, error))
        return _result_of_response(command, raw)

    def _complete(self, entry: int, result: CommandResult) -> CommandResult:
        try:
            self._audit.complete(entry, result.outcome, result.message)
        except SQLAlchemyError:
            log.exception(
                "audit_write_failed entry=%d outcome=%s", entry, logging_setup.quote_value(result.outcome)
            )
            return replace(result, is_recorded=False)
        return result

    def _run_key_list(self, command: ValidatedCommand, action: AuditedAction) -> CommandResult:
        self._audit.record(replace(action, idempotency_key=None), Outcome.OK)
        result = _result(command, Outcome.OK, "The run keys that the mirror is configured with.")
        return replace(result, response=RunKeyList(self._run_keys), text=json.dumps(self._run_keys))


def _result(command: ValidatedCommand, outcome: Outcome, message: str) -> CommandResult:
    return CommandResult(command, outcome, message, _STATUS_OF[outcome])


def _not_sent(command: ValidatedCommand, reason: str) -> CommandResult:
    return _result(command, Outcome.NOT_SENT, f"{reason}: nothing was sent.")


def _refused(command: ValidatedCommand, message: str, status: int) -> CommandResult:
    return CommandResult(command, Outcome.REFUSED, message, status)


def _check_listed(
    command: ValidatedCommand, parameter: Parameter, names: Sequence[str] | None, refusal: str
) -> CommandResult | None:
    if names is None:
        return _not_sent(command, f"DQM² did not return the list that {parameter} is checked against")
    if command.parameters[parameter] not in names:
        return _refused(command, refusal, HTTPStatus.BAD_REQUEST)
    return None


def _result_of_response(command: ValidatedCommand, raw: RawResponse) -> CommandResult:
    text = command_responses.decode_text(raw)
    try:
        response = command_responses.parse(command.spec.what, raw)
    except Dqm2InvalidResponse as error:
        message = _unexpected_response_message(command.spec, error)
        return replace(_result(command, Outcome.UNEXPECTED_RESPONSE, message), text=text)
    if isinstance(response, DaemonLogs):
        # A truncated list was repaired, so its text is no longer what DQM² sent.
        text = json.dumps([file.text for file in response.files])
    message = "DQM² says Ok." if command.spec.is_change else "DQM² responded."
    return replace(_result(command, Outcome.OK, message), response=response, text=text)


def _unexpected_response_message(spec: Command, error: Dqm2InvalidResponse) -> str:
    if spec.is_change:
        return f"DQM² did not say Ok. What it did is unknown. {_CHECK_FIRST}"
    return f"Unexpected response from DQM²: {error}."


def _failure_message(spec: Command, error: Dqm2Failed) -> str:
    if spec.is_change:
        return f"DQM² failed: it {error}. What it did before that is unknown. {_CHECK_FIRST}"
    return f"DQM² failed: it {error}."


def _unknown_message(spec: Command, error: OutcomeUnknown) -> str:
    if spec.is_change:
        return f"Outcome unknown: {error}. {_CHECK_FIRST}"
    return f"No usable response: {error}."
