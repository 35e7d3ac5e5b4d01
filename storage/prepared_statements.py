"""Prepared statements: PostgreSQL parses and plans a statement once per connection, not at each execution.

That is most of its time for the statements of a page, which are marked by `db.prepared`. psycopg2 has no
support for it.
"""

import re
from collections.abc import Mapping
from typing import Any

from psycopg2 import extensions

# A parameter of psycopg2, and the type that SQLAlchemy casts it to, such as `::UUID[]`.
_PARAMETER = re.compile(r"%\((\w+)\)s((?:::\w+(?:\[\])?)?)")


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
