"""Execution of the Control Room's commands: queued, audited before and after, and sent once."""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy.exc import SQLAlchemyError

from dqm2.command_responses import RunKeyList
from dqm2.commands import Parameter
from dqmsquare_cfg import Settings
from runtime import logging_setup
from storage.audit_log import AuditedAction, AuditLog, CommandInProgress, DuplicateSubmission, Outcome
from storage.command_queue import CommandQueue, QueueTimeout, QueueUnavailable, Ticket
from web import access_log
from web.control_room import command_result
from web.control_room.command_result import CommandResult
from web.control_room.command_sender import CommandSender
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

_QUEUE_UNAVAILABLE = "The database of the command queue can't be reached"
_CLIENT_LEFT = "Its sender left before its turn"
_SESSION_ENDED = "Your session ended while this command was queued: nothing was sent."
_AUDIT_UNAVAILABLE = "The audit can't be written"


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
        self._sender = CommandSender(settings)
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
            return self._record_unqueued(
                action, command_result.refused(command, message, HTTPStatus.SERVICE_UNAVAILABLE)
            )
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
            result = command_result.not_sent(command, _QUEUE_UNAVAILABLE)
        except DuplicateSubmission:
            message = "This request has already been received."
            result = command_result.refused(command, message, HTTPStatus.CONFLICT)
        except CommandInProgress as other:
            message = (
                f"{other.entry.action.username} has already requested this, and it is still in progress."
            )
            result = command_result.refused(command, message, HTTPStatus.CONFLICT)
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
                return self._prepare(command, entry, expert) or self._sender.send(command)
        except QueueTimeout:
            return command_result.not_sent(command, f"Its turn did not come within {_MAX_QUEUE_WAIT_S:.0f} s")
        except QueueUnavailable:
            return command_result.not_sent(command, _QUEUE_UNAVAILABLE)

    def _prepare(self, command: ValidatedCommand, entry: int, expert: Expert) -> CommandResult | None:
        """Check the command once more and mark it as sent. Return a result if it must not be sent."""
        try:
            if not self._sessions.is_valid(expert):
                return command_result.refused(command, _SESSION_ENDED, HTTPStatus.UNAUTHORIZED)
            if result := self._check_status_interval(command) or self._sender.check_target(command):
                return result
            if access_log.client_has_left():
                return command_result.not_sent(command, _CLIENT_LEFT)
            self._audit.mark_sent(entry)
        except SQLAlchemyError:
            return command_result.not_sent(command, _AUDIT_UNAVAILABLE)
        return None

    def _check_status_interval(self, command: ValidatedCommand) -> CommandResult | None:
        if command.spec.what != "get_cluster_status":
            return None
        elapsed = self._audit.time_since_sent(command.spec.what, command.cluster or "")
        if elapsed is None or elapsed.total_seconds() >= _MIN_STATUS_INTERVAL_S:
            return None
        remaining_s = _MIN_STATUS_INTERVAL_S - int(elapsed.total_seconds())
        message = (
            f"The status was requested less than {_MIN_STATUS_INTERVAL_S} s ago, and each request is "
            f"expensive for all machines. Try again in {remaining_s} s."
        )
        return command_result.refused(command, message, HTTPStatus.TOO_MANY_REQUESTS)

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
        result = command_result.of_outcome(
            command, Outcome.OK, "The run keys that the mirror is configured with."
        )
        return replace(result, response=RunKeyList(self._run_keys), text=json.dumps(self._run_keys))
