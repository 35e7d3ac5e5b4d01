"""Validation of requests for commands: each becomes a `ValidatedCommand` or is rejected.

Each parameter must belong to the command, be given once and match its pattern; machines must be configured.
What is sent is built from the validated values. A rejection never repeats what was given, which may be
anything.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flask import Request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from config.parsers import short_name
from dqm2.commands import COMMANDS, PARAMETER_PATTERNS, Command, Parameter
from dqmsquare_cfg import Cluster, Settings
from web.action_text import UNKNOWN_COMMAND

_NAME = "what"
# Scripts and buttons of earlier mirrors send it with reads; it makes no difference.
_IGNORED_OF_READS = "format"
_BAD_REQUEST, _FORBIDDEN, _METHOD_NOT_ALLOWED, _UNSUPPORTED_MEDIA_TYPE = 400, 403, 405, 415
_FORM = "application/x-www-form-urlencoded"
_PRODUCTION_PANEL = "0"
# The playback simulator runs on a builder unit: `dqmrubu-…`, older `bu-…`.
_BUILDER_UNIT = re.compile(r"(dqm)?(ru)?bu-.*")


@dataclass(frozen=True, slots=True)
class ValidatedCommand:
    """A command that may be sent. Machines are given by their short names."""

    spec: Command
    parameters: Mapping[Parameter, str]
    cluster: Cluster | None = None

    @property
    def host(self) -> str | None:
        """Machine that the command is for, if it is for one."""
        return self.parameters.get(Parameter.HOST)

    @property
    def query(self) -> list[tuple[str, str]]:
        """Query parameters to send to DQM²."""
        parameters = ((name.value, value) for name, value in self.parameters.items())
        return [(_NAME, self.spec.what), *parameters]

    @property
    def changes_production(self) -> bool:
        """Whether it changes the cluster that takes the real data."""
        is_for_production = (
            self.cluster is Cluster.PRODUCTION or self.parameters.get(Parameter.PLAYBACK) == _PRODUCTION_PANEL
        )
        return self.spec.is_change and is_for_production


class CommandRejected(Exception):
    """Raised when a request is not a valid command. The message says why and repeats nothing of the request.

    `command` has the parameters that were valid, if the request got as far as naming a command.
    """

    def __init__(
        self, message: str, status: int = _BAD_REQUEST, command: ValidatedCommand | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.command = command


def validate(request: Request, settings: Settings) -> ValidatedCommand:
    """The command that a request makes. Raises CommandRejected."""
    given = _given_parameters(request)
    spec = _spec(given)
    if spec.is_change and request.method != "POST":
        raise CommandRejected(
            "This command changes something, so it must be a POST.",
            _METHOD_NOT_ALLOWED,
            ValidatedCommand(spec, {}),
        )
    command = _validate_parameters(spec, given, settings)
    if command.changes_production and not settings.cr_production:
        raise CommandRejected(
            "Changes of the production cluster are disabled here (CR_PRODUCTION).", _FORBIDDEN, command
        )
    return command


def command_name(request: Request) -> str:
    """The command that a request names, valid or not; UNKNOWN_COMMAND if it names none."""
    try:
        names = request.values.getlist(_NAME)
    except RequestEntityTooLarge:
        return UNKNOWN_COMMAND
    return names[0] if len(names) == 1 and names[0] in COMMANDS else UNKNOWN_COMMAND


def simulator_host(settings: Settings) -> str:
    """The machine of the playback simulator, the default of commands for it."""
    machines = settings.fff_playback_machines
    return next((machine for machine in machines if _BUILDER_UNIT.fullmatch(machine)), machines[0])


def _given_parameters(request: Request) -> "MultiDict[str, str]":
    if request.method != "POST":
        return request.args
    if request.mimetype != _FORM:
        raise CommandRejected(f"A POST must be a form ({_FORM}).", _UNSUPPORTED_MEDIA_TYPE)
    if request.args:
        raise CommandRejected("The parameters of a POST must be in its body, not in its URL.")
    return request.form


def _spec(given: "MultiDict[str, str]") -> Command:
    names = given.getlist(_NAME)
    if len(names) != 1:
        raise CommandRejected("what must be given exactly once.")
    spec = COMMANDS.get(names[0])
    if spec is None:
        raise CommandRejected("what is not a known command.")
    return spec


def _validate_parameters(spec: Command, given: "MultiDict[str, str]", settings: Settings) -> ValidatedCommand:
    valid: dict[Parameter, str] = {}
    try:
        # One by one: a rejection keeps the values that were valid before it.
        valid.update(_valid_parameters(spec, given, settings))
    except CommandRejected as rejected:
        command = _command(spec, valid, settings)
        raise CommandRejected(rejected.message, rejected.status, command) from None
    if spec.targets_simulator:
        valid.setdefault(Parameter.HOST, simulator_host(settings))
    return _command(spec, valid, settings)


def _valid_parameters(
    spec: Command, given: "MultiDict[str, str]", settings: Settings
) -> Iterator[tuple[Parameter, str]]:
    """Yield the valid parameters up to the first invalid one. Raises CommandRejected."""
    missing = list(spec.required)
    for name in given:
        if name == _NAME or (name == _IGNORED_OF_READS and not spec.is_change):
            continue
        parameter = _parameter(spec, name)
        yield parameter, _value(spec, parameter, given.getlist(name), settings)
        if parameter in missing:
            missing.remove(parameter)
    if missing:
        raise CommandRejected(f"{missing[0]} is missing.")


def _command(spec: Command, valid: Mapping[Parameter, str], settings: Settings) -> ValidatedCommand:
    parameters = {parameter: valid[parameter] for parameter in Parameter if parameter in valid}
    return ValidatedCommand(spec, parameters, _cluster(parameters, settings))


def _parameter(spec: Command, name: str) -> Parameter:
    found = next((parameter for parameter in spec.parameters if parameter == name), None)
    if found is None:
        raise CommandRejected("This command does not have all of the given parameters.")
    return found


def _value(spec: Command, parameter: Parameter, values: list[str], settings: Settings) -> str:
    if len(values) != 1:
        raise CommandRejected(f"{parameter} must be given exactly once.")
    [value] = values
    if parameter is Parameter.RUN_NUMBER and value.isdecimal():
        value = f"run{value}"
    pattern = PARAMETER_PATTERNS[parameter]
    if not pattern.matches(value):
        raise CommandRejected(f"{parameter} must be {pattern.description}.")
    match parameter:
        case Parameter.HOST:
            return _host(spec, short_name(value), settings)
        case Parameter.RUN_KEY if value not in settings.server_simulator_run_keys:
            keys = ", ".join(settings.server_simulator_run_keys)
            raise CommandRejected(f"run_key must be one of {keys}.")
    return value


def _host(spec: Command, host: str, settings: Settings) -> str:
    if spec.targets_simulator and host not in settings.fff_playback_machines:
        raise CommandRejected("host must be a machine of the playback cluster.")
    if host not in settings.fff_playback_machines + settings.fff_production_machines:
        raise CommandRejected("host must be a machine of the playback or production cluster.")
    return host


def _cluster(parameters: Mapping[Parameter, str], settings: Settings) -> Cluster | None:
    if host := parameters.get(Parameter.HOST):
        is_playback = host in settings.fff_playback_machines
        return Cluster.PLAYBACK if is_playback else Cluster.PRODUCTION
    name = parameters.get(Parameter.CLUSTER) or parameters.get(Parameter.KIND)
    return Cluster(name) if name else None
