"""Prepared statements: PostgreSQL parses and plans a statement once per connection, not at each execution.

That is most of its time for the statements of a page. psycopg2 has no support for it, so the server's
connections do it (`web/databases.py`), for statements that are marked by `prepared`.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from psycopg2 import extensions

# A parameter of psycopg2, and the type that SQLAlchemy casts it to, such as `::UUID[]`.
_PARAMETER = re.compile(r"%\((\w+)\)s((?:::\w+(?:\[\])?)?)")

# Execution option of statements to prepare.
_OPTION = "is_prepared"

_Statement = TypeVar("_Statement", bound=sa.Executable)


def prepared(statement: _Statement) -> _Statement:
    """A statement to prepare, since every page executes it.

    It is built once, and its plan must not depend on the values of its parameters.
    """
    return statement.execution_options(**{_OPTION: True})


def is_prepared(context: sa.engine.ExecutionContext) -> bool:
    """Whether the statement of an execution is to be prepared."""
    return _OPTION in context.execution_options


class PreparedStatements:
    """The prepared statements of a connection."""

    def __init__(self) -> None:
        self._executions: dict[str, str] = {}

    def execute(self, cursor: extensions.cursor, statement: str, parameters: Mapping[str, Any]) -> None:
        """Execute a statement, which is prepared the first time."""
        execution = self._executions.get(statement)
        if execution is None:
            execution = prepare(cursor, statement, f"prepared_{len(self._executions)}")
            self._executions[statement] = execution
        cursor.execute(execution, parameters)


def prepare(cursor: extensions.cursor, statement: str, name: str) -> str:
    """Prepare a statement under a name; return the statement, with the same parameters, that executes it."""
    types = dict(_PARAMETER.findall(statement))
    numbers = {parameter: f"${number}" for number, parameter in enumerate(types, start=1)}
    cursor.execute(f"PREPARE {name} AS {statement % numbers}")
    arguments = ", ".join(f"%({parameter})s{cast}" for parameter, cast in types.items())
    return f"EXECUTE {name}({arguments})" if arguments else f"EXECUTE {name}"
