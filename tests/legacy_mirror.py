"""Database of an earlier mirror: its tables, and rows as it wrote them."""

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg2 import sql
from psycopg2.extras import execute_values

import db_commands
from benchmarks.legacy_database import SCHEMA
from tests import commands
from tools.demo.postgres import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
RUN = 358_788
AT = datetime(2022, 9, 15, 14, 0, tzinfo=UTC)
UNKNOWN = datetime(2012, 3, 3, tzinfo=UTC)
FILTER_UNIT, BUILDER_UNIT = "dqmfu-c2b03-45-01", "dqmrubu-c2a06-01-01"
PATH = "/dqm_cmssw/production_0909_CMSSW_12_4_8_39145/src/clients/beam_dqm_sourceclient-live_cfg.py"

Row = dict[str, Any]


def job(number: int = 1, *, host: str = FILTER_UNIT, **values: Any) -> Row:
    """A row of `runs`: a finished job with `number` as its pid and revision."""
    run = values.get("run", RUN)
    return {
        "id": f"dqm-source-state-run{run or 0:06d}-host{host}-pid{number:06d}",
        "client": "beam_dqm_sourceclient-live",
        "run": run,
        "rev": number,
        "hostname": host,
        "exit_code": 0,
        "events_total": 1165,
        "events_rate": 3.25,
        "cmssw_run": run,
        "cmssw_lumi": 97,
        "client_path": PATH,
        "runkey": "runkey=pp_run",
        "fi_state": "2",
        "timestamp": AT + timedelta(seconds=number),
        "vmrss": "362744 kB",
        "stdlog_start": repr(["-- starting process --\n", "it's a log\n"]),
        "stdlog_end": repr(["the end\n"]),
        **values,
    }


def graph(run: int = RUN, rev: int = 900, **values: Any) -> Row:
    """A row of `graphs`."""
    streams = {
        "streamDQM_sm-c2a11-43-01": {
            "lumis": [2, 1],
            "mtimes": [1663250476.1332, 1663250452.5067],
            "ctimes": [1663250476.1353, 1663250452.5087],
            "evt_accepted": [11, 6],
            "evt_processed": [9653, 9472],
            "fsize": [1617156, -1],
        }
    }
    return {
        "run": run,
        "rev": rev,
        "id": f"dqm-files-{BUILDER_UNIT}-analyze_files-run{run}",
        "timestamp": AT,
        "global_start": AT - timedelta(hours=1),
        "stream_data": repr(streams),
        "hostname": BUILDER_UNIT,
        **values,
    }


def run_adopt(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Run `db.py adopt` with some standard input; returns its exit status and output."""
    return run_db(environment, "adopt", *arguments, stdin=stdin)


def run_db(environment: Mapping[str, str], *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Run a command of `db.py`, with some standard input; returns its exit status and output."""
    return commands.run(db_commands.main, environment, *arguments, stdin=stdin)


class LegacyMirror:
    """A database with empty legacy tables."""

    def __init__(self, postgres: EmbeddedPostgres, name: str) -> None:
        self._postgres = postgres
        self.name = name
        postgres.drop_database(name)
        postgres.create_database(name)
        self.execute(SCHEMA)

    def write(self, table: str, *rows: Mapping[str, Any]) -> None:
        """Insert rows that have the same columns."""
        names = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
        with closing(self._postgres.connect(self.name)) as connection, connection.cursor() as cursor:
            statement = sql.SQL("INSERT INTO {} ({}) VALUES %s").format(sql.Identifier(table), names)
            execute_values(cursor, statement, [tuple(row.values()) for row in rows])

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement and return its rows."""
        with closing(self._postgres.connect(self.name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
