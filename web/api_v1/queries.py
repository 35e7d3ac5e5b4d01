"""Query parameters of the resources. An unknown, repeated or invalid one is refused with status 400."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from flask import request
from msgspec import UNSET, Meta, UnsetType
from werkzeug.exceptions import BadRequest

from dqm2.records import CrashKind
from storage.job_state import JobState
from web.query_args import INT_MAX, parse_integer

T = TypeVar("T")
QueryT = TypeVar("QueryT", bound="Query")

# Times beyond these are none of a run, and would overflow in computations.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
DEFAULT_UPTIME, MAX_UPTIME = timedelta(hours=24), timedelta(days=366)
_ERROR = re.compile(r"(.+?)(?: - at `\$\.(\w+)`)?")


class RunState(StrEnum):
    """State of a run."""

    ONGOING = "ongoing"
    ENDED = "ended"


Name = Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,160}$")]
Time = Annotated[datetime, Meta(tz=True)]
Run = Annotated[int, Meta(ge=0, le=INT_MAX)]
Limit = Annotated[int, Meta(ge=1, le=100, description="Items per page at most.")]
Cursor = Annotated[
    str, Meta(pattern="^[0-9]{1,10}$", description="`next_cursor` of the previous page; do not compose it.")
]
TransitionCursor = Annotated[
    str,
    Meta(
        pattern="^[0-9]{1,18}$",
        description="`next_cursor` of the previous page, or `0` for the oldest that are kept.",
    ),
]


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """Query parameters; without fields, there are none."""


class RunFilterQuery(Query):
    """Filter by run. All conditions have to be met, those on jobs by the same job."""

    first_run: Annotated[Run, Meta(description="Lowest run; jobs without a run number are in run 0.")] = 1
    last_run: Annotated[Run, Meta(description="Highest run.")] = INT_MAX
    since: Annotated[Time | UnsetType, Meta(description="A job of the run reported at or after it.")] = UNSET
    until: Annotated[Time | UnsetType, Meta(description="A job of the run started before it.")] = UNSET
    run_key: Annotated[Name | UnsetType, Meta(description="Run key, such as `pp_run`.")] = UNSET
    cmssw_version: Annotated[
        Name | UnsetType, Meta(description="CMSSW release, with or without `CMSSW_`.")
    ] = UNSET
    client: Annotated[Name | UnsetType, Meta(description="The run has a job of this client.")] = UNSET


class RunsQuery(RunFilterQuery):
    """Filter and page of runs; `position` is where the page begins."""

    state: Annotated[RunState | UnsetType, Meta(description="State of the run.")] = UNSET
    job_state: Annotated[JobState | UnsetType, Meta(description="The run has a job in this state.")] = UNSET
    limit: Limit = 25
    position: Cursor | UnsetType = msgspec.field(default=UNSET, name="cursor")


class JobsQuery(Query):
    """Filter of the jobs of a run."""

    client: Annotated[Name | UnsetType, Meta(description="Name of the client.")] = UNSET
    state: Annotated[JobState | UnsetType, Meta(description="State of the job.")] = UNSET


class CrashGroupsQuery(RunFilterQuery):
    """Filter and page of groups of crashes."""

    kind: Annotated[CrashKind | UnsetType, Meta(description="Kind of the reason for the crash.")] = UNSET
    limit: Limit = 25
    position: Cursor | UnsetType = msgspec.field(default=UNSET, name="cursor")


class TransitionsQuery(Query):
    """Page of transitions."""

    limit: Limit = 100
    position: TransitionCursor | UnsetType = msgspec.field(default=UNSET, name="cursor")


class MachinesQuery(Query):
    """Times between which uptime is listed; by default the last `DEFAULT_UPTIME`, to the minute."""

    since: Annotated[
        Time | UnsetType,
        Meta(
            description=f"By default {DEFAULT_UPTIME // timedelta(hours=1)} hours before `until`, at most"
            f" {MAX_UPTIME.days} days before it."
        ),
    ] = UNSET
    until: Annotated[Time | UnsetType, Meta(description="By default the last full minute.")] = UNSET


def parse(query_type: type[QueryT]) -> QueryT:
    """Query parameters of the current request. Raises BadRequest."""
    integers = {field.name for field in msgspec.structs.fields(query_type) if isinstance(field.default, int)}
    values: dict[str, object] = {}
    for name, texts in request.args.lists():
        if len(texts) > 1:
            raise BadRequest(f"{name} must be given once")
        if texts[0] != texts[0].strip():
            # Patterns do not see a line break at the end, and a number may have blanks around it elsewhere.
            raise BadRequest(f"{name} must have no blank or line break around it")
        number = parse_integer(texts[0]) if name in integers else None
        values[name] = texts[0] if number is None else number
    try:
        return msgspec.convert(values, query_type)
    except msgspec.ValidationError as error:
        raise BadRequest(_sentence(error, query_type)) from None


def optional(value: T | UnsetType) -> T | None:
    """A parameter's value, `None` if it is not given."""
    return None if value is UNSET else value


def optional_time(value: datetime | UnsetType) -> datetime | None:
    """A parameter's time in UTC within the years that there can be data of; `None` if it is not given."""
    if value is UNSET:
        return None
    return min(max(value, _EARLIEST), _LATEST).astimezone(UTC)


def _sentence(error: msgspec.ValidationError, query_type: type[Query]) -> str:
    match = _ERROR.fullmatch(str(error))
    if match is None or match[2] is None:
        return str(error).replace("Object contains unknown field", "There is no parameter")
    choices = _choices(query_type, match[2])
    hint = f"; it must be one of {', '.join(choices)}" if choices else ""
    return f"{match[2]}: {match[1][0].lower()}{match[1][1:]}{hint}"


def _choices(query_type: type[Query], name: str) -> list[str]:
    """The values that a parameter may have; empty if they are not enumerated."""
    (type_,) = (field.type for field in msgspec.structs.fields(query_type) if field.encode_name == name)
    return [str(member) for enumeration in _enumerations(type_) for member in enumeration]


def _enumerations(type_: Any) -> Iterator[type[StrEnum]]:
    """The enumerations in an annotation; that of an optional parameter is a union with a description."""
    if isinstance(type_, type) and issubclass(type_, StrEnum):
        yield type_
    for argument in get_args(type_):
        yield from _enumerations(argument)
