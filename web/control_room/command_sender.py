"""Sender of commands to DQM²; what a command names must be in DQM²'s own lists."""

import logging
from collections.abc import Sequence
from http import HTTPStatus

from dqm2 import command_responses
from dqm2.command_client import CommandClient, NotSent, OutcomeUnknown
from dqm2.command_responses import ClientList, SimulatorRuns
from dqm2.commands import COMMANDS, Parameter
from dqm2.errors import Dqm2Error, Dqm2Failed, Dqm2Refused
from dqmsquare_cfg import Settings
from runtime import logging_setup
from web.control_room import command_result
from web.control_room.command_result import CommandResult
from web.control_room.command_validation import ValidatedCommand

log = logging.getLogger(__name__)


class CommandSender:
    """Sender of commands; the caller holds the turn of the queue, so that there is one request at a time."""

    def __init__(self, settings: Settings) -> None:
        self._client = CommandClient(settings)

    def check_target(self, command: ValidatedCommand) -> CommandResult | None:
        """A result if the client or run that a change names is not in DQM²'s list, which may be missing."""
        match command.spec.what:
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

    def send(self, command: ValidatedCommand) -> CommandResult:
        """Send a command, once, and return what came of it."""
        spec = command.spec
        try:
            raw = self._client.send(command.query, spec.limits)
        except NotSent as error:
            log.warning("command_not_sent command=%s reason=%s", spec.what, logging_setup.quote_value(error))
            return command_result.not_sent(command, "DQM² can't be reached")
        except Dqm2Refused as error:
            log.warning("command_denied command=%s reason=%s", spec.what, logging_setup.quote_value(error))
            return command_result.denied(command)
        except Dqm2Failed as error:
            return command_result.failed(command, error)
        except OutcomeUnknown as error:
            return command_result.unknown(command, error)
        return command_result.of_response(command, raw)

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


def _check_listed(
    command: ValidatedCommand, parameter: Parameter, names: Sequence[str] | None, refusal: str
) -> CommandResult | None:
    if names is None:
        reason = f"DQM² did not return the list that {parameter} is checked against"
        return command_result.not_sent(command, reason)
    if command.parameters[parameter] not in names:
        return command_result.refused(command, refusal, HTTPStatus.BAD_REQUEST)
    return None
