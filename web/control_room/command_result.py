"""Results of commands: outcome, message and status, as far as DQM²'s response shows them.

A response of DQM² proves little and a missing one proves nothing, so a result claims only what is known: DQM²
says Ok, DQM² failed and may have done part of it, the outcome is unknown, or nothing was sent.
"""

import json
from dataclasses import dataclass, replace
from http import HTTPStatus

from dqm2 import command_responses
from dqm2.command_client import OutcomeUnknown, RawResponse
from dqm2.command_responses import CommandResponse, DaemonLogs
from dqm2.errors import Dqm2Failed, Dqm2InvalidResponse
from storage.audit_log import Outcome
from web.control_room.command_validation import ValidatedCommand

_CHECK_FIRST = "Check its effect before you try again."
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


def of_outcome(command: ValidatedCommand, outcome: Outcome, message: str) -> CommandResult:
    """The result with an outcome that is not a refusal."""
    return CommandResult(command, outcome, message, _STATUS_OF[outcome])


def refused(command: ValidatedCommand, message: str, status: int) -> CommandResult:
    """The result of a command that the mirror refuses."""
    return CommandResult(command, Outcome.REFUSED, message, status)


def not_sent(command: ValidatedCommand, reason: str) -> CommandResult:
    """The result of a command that could not be sent."""
    return of_outcome(command, Outcome.NOT_SENT, f"{reason}: nothing was sent.")


def denied(command: ValidatedCommand) -> CommandResult:
    """The result of a command that DQM² denies the mirror."""
    return of_outcome(command, Outcome.DENIED, "DQM² denied access to the mirror. Nothing was done.")


def failed(command: ValidatedCommand, error: Dqm2Failed) -> CommandResult:
    """The result of a command that DQM² says it failed to execute."""
    message = f"DQM² failed: it {error}."
    if command.spec.is_change:
        message += f" What it did before that is unknown. {_CHECK_FIRST}"
    return of_outcome(command, Outcome.FAILED, message)


def unknown(command: ValidatedCommand, error: OutcomeUnknown) -> CommandResult:
    """The result of a command that was sent, without a response that can be used."""
    is_change = command.spec.is_change
    message = f"Outcome unknown: {error}. {_CHECK_FIRST}" if is_change else f"No usable response: {error}."
    return of_outcome(command, Outcome.UNKNOWN, message)


def of_response(command: ValidatedCommand, raw: RawResponse) -> CommandResult:
    """The result of a command that DQM² responded to."""
    text, is_change = command_responses.decode_text(raw), command.spec.is_change
    try:
        response = command_responses.parse(command.spec.what, raw)
    except Dqm2InvalidResponse as error:
        message = f"Unexpected response from DQM²: {error}."
        if is_change:
            message = f"DQM² did not say Ok. What it did is unknown. {_CHECK_FIRST}"
        return replace(of_outcome(command, Outcome.UNEXPECTED_RESPONSE, message), text=text)
    if isinstance(response, DaemonLogs):
        # A truncated list was repaired, so its text is no longer what DQM² sent.
        text = json.dumps([file.text for file in response.files])
    message = "DQM² says Ok." if is_change else "DQM² responded."
    return replace(of_outcome(command, Outcome.OK, message), response=response, text=text)
