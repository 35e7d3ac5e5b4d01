"""The Control Room's door: a request for a command, checked value by value, becomes an order or a refusal.

Each parameter must be one that the command has, be given once and have its shape; machines must be of the
configuration. What is sent is built from what was checked. A refusal never repeats what was given: that may
be anything.
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

UNKNOWN = "unknown"

_WHAT = "what"
_BAD_REQUEST, _FORBIDDEN, _NOT_ALLOWED, _UNSUPPORTED = 400, 403, 405, 415
_FORM = "application/x-www-form-urlencoded"
_OF_PRODUCTION = "0"
# Builder units, one of which the simulator is on: `dqmrubu-…`, older `bu-…`.
_BUILDER_UNIT = re.compile(r"(dqm)?(ru)?bu-.*")


@dataclass(frozen=True, slots=True)
class Order:
    """A command as it may be sent; a machine stands in it by its short name."""

    command: Command
    values: Mapping[Parameter, str]
    cluster: Cluster | None = None

    @property
    def host(self) -> str | None:
        """The machine that the command is for, if it is for one."""
        return self.values.get(Parameter.HOST)

    @property
    def query(self) -> list[tuple[str, str]]:
        """What is sent."""
        return [(_WHAT, self.command.what), *((name.value, value) for name, value in self.values.items())]

    @property
    def changes_production(self) -> bool:
        """Whether it changes something of the cluster that takes the real data."""
        is_of_production = (
            self.cluster is Cluster.PRODUCTION or self.values.get(Parameter.PLAYBACK) == _OF_PRODUCTION
        )
        return self.command.is_change and is_of_production


class Refusal(Exception):
    """A request that is not let through, with a sentence that says why and repeats nothing of it.

    `order` is what of it was found to be good before, if it got as far as naming a command.
    """

    def __init__(self, sentence: str, status: int = _BAD_REQUEST, order: Order | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status
        self.order = order


def order_of(request: Request, settings: Settings) -> Order:
    """The order that a request makes. Raises Refusal."""
    given = _given(request)
    command = _command(given)
    if command.is_change and request.method != "POST":
        raise Refusal("This command changes something: it must be a POST.", _NOT_ALLOWED, Order(command, {}))
    order = _checked(command, given, settings)
    if order.changes_production and not settings.cr_production:
        raise Refusal(
            "Changes of the production cluster are switched off here (CR_PRODUCTION).", _FORBIDDEN, order
        )
    return order


def named(request: Request) -> str:
    """The command that a request names, whatever else is wrong with it; UNKNOWN if it names none."""
    try:
        whats = request.values.getlist(_WHAT)
    except RequestEntityTooLarge:
        return UNKNOWN
    return whats[0] if len(whats) == 1 and whats[0] in COMMANDS else UNKNOWN


def simulator_host(settings: Settings) -> str:
    """The machine that the playback simulator is on, unless another one is named."""
    machines = settings.fff_playback_machines
    return next((machine for machine in machines if _BUILDER_UNIT.fullmatch(machine)), machines[0])


def _given(request: Request) -> "MultiDict[str, str]":
    if request.method != "POST":
        return request.args
    if request.mimetype != _FORM:
        raise Refusal(f"A POST must be a form ({_FORM}).", _UNSUPPORTED)
    if request.args:
        raise Refusal("A POST has everything in its body, nothing in its address.")
    return request.form


def _command(given: "MultiDict[str, str]") -> Command:
    whats = given.getlist(_WHAT)
    if len(whats) != 1:
        raise Refusal("what must be given, and once.")
    command = COMMANDS.get(whats[0])
    if command is None:
        raise Refusal("what is no command that there is.")
    return command


def _checked(command: Command, given: "MultiDict[str, str]", settings: Settings) -> Order:
    values: dict[Parameter, str] = {}
    try:
        # Value by value: those before one that is refused stay in it.
        values.update(_values(command, given, settings))
    except Refusal as refusal:
        raise Refusal(refusal.sentence, refusal.status, _order(command, values, settings)) from None
    if command.targets_simulator:
        values.setdefault(Parameter.HOST, simulator_host(settings))
    return _order(command, values, settings)


def _values(
    command: Command, given: "MultiDict[str, str]", settings: Settings
) -> Iterator[tuple[Parameter, str]]:
    """The values that are good, until one isn't. Raises Refusal."""
    missing = list(command.required)
    for name in given:
        if name == _WHAT:
            continue
        parameter = _parameter(command, name)
        yield parameter, _value(command, parameter, given.getlist(name), settings)
        if parameter in missing:
            missing.remove(parameter)
    if missing:
        raise Refusal(f"{missing[0]} is missing.")


def _order(command: Command, values: Mapping[Parameter, str], settings: Settings) -> Order:
    ordered = {parameter: values[parameter] for parameter in Parameter if parameter in values}
    return Order(command, ordered, _cluster(ordered, settings))


def _parameter(command: Command, name: str) -> Parameter:
    found = next((one for one in Parameter if one == name and one in command.parameters), None)
    if found is None:
        raise Refusal("It has a parameter that this command doesn't have.")
    return found


def _value(command: Command, parameter: Parameter, given: list[str], settings: Settings) -> str:
    if len(given) != 1:
        raise Refusal(f"{parameter} must be given once.")
    pattern = PARAMETER_PATTERNS[parameter]
    if not pattern.matches(given[0]):
        raise Refusal(f"{parameter} must be {pattern.description}.")
    match parameter:
        case Parameter.HOST:
            return _host(command, short_name(given[0]), settings)
        case Parameter.RUN_KEY if given[0] not in settings.server_simulator_run_keys:
            keys = ", ".join(settings.server_simulator_run_keys)
            raise Refusal(f"run_key must be one of {keys}.")
    return given[0]


def _host(command: Command, host: str, settings: Settings) -> str:
    if command.targets_simulator and host not in settings.fff_playback_machines:
        raise Refusal("host must be a machine of the playback cluster.")
    if host not in settings.fff_playback_machines + settings.fff_production_machines:
        raise Refusal("host must be a machine of the playback or the production cluster.")
    return host


def _cluster(values: Mapping[Parameter, str], settings: Settings) -> Cluster | None:
    if host := values.get(Parameter.HOST):
        is_playback = host in settings.fff_playback_machines
        return Cluster.PLAYBACK if is_playback else Cluster.PRODUCTION
    named = values.get(Parameter.CLUSTER) or values.get(Parameter.KIND)
    return Cluster(named) if named else None
