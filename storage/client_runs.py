"""Runs in which clients have jobs, which triggers mark by a bit each (`db.client_runs`).

The runs of ten years are 60 blocks of a client. PostgreSQL would have to read an index entry of each job.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import sqlalchemy as sa

import db
from storage.read_models import FoundSpan

_BIT = "1"

_blocks = db.client_runs.c


def find_span(
    connection: sa.Connection, clients: tuple[str, ...] | None, *, first: int, last: int
) -> FoundSpan:
    """The runs from `first` to `last` with a job of one of the clients (tags), or with any job."""
    parameters: dict[str, Any] = {
        "first": first // db.RUNS_PER_BLOCK,
        "last": last // db.RUNS_PER_BLOCK,
    }
    if clients is not None:
        parameters["clients"] = clients
    statement = _select_blocks(is_of_clients=clients is not None)
    return _span(connection.execute(statement, parameters), first, last)


@cache
def _select_blocks(*, is_of_clients: bool) -> sa.Select[tuple[int, str]]:
    """Select the blocks from `first` to `last` with the runs of all `clients`, ascending; parameters."""
    is_in_range = _blocks.block.between(sa.bindparam("first"), sa.bindparam("last"))
    statement = sa.select(_blocks.block, sa.func.bit_or(_blocks.runs)).where(is_in_range)
    if is_of_clients:
        statement = statement.where(_blocks.client.in_(sa.bindparam("clients", expanding=True)))
    return statement.group_by(_blocks.block).order_by(_blocks.block)


def _span(blocks: Iterable[Any], first: int, last: int) -> FoundSpan:
    """The span of the runs from `first` to `last` in ascending blocks."""
    count, lowest, highest = 0, None, None
    for block, runs in blocks:
        start = block * db.RUNS_PER_BLOCK
        bounds = max(first - start, 0), last - start + 1
        found = runs.count(_BIT, *bounds)
        if found:
            count += found
            lowest = start + runs.index(_BIT, *bounds) if lowest is None else lowest
            highest = start + runs.rindex(_BIT, *bounds)
    return FoundSpan(count, lowest, highest)
