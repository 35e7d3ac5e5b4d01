"""Database of an earlier mirror of any size, filled by COPY: jobs with logs, graphs, polls of machines.

The logs are those of a few hundred simulated jobs, reused: only their number and size matter. Each gets a
line of its own, so that no two are equal.
"""

import io
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import sqlalchemy as sa

from dqm2.records import LUMISECTION_S
from simulator.clients import CLIENTS
from simulator.fake_secrets import FakeSecrets
from simulator.job_reports import upload_finished_jobs
from simulator.machines import Machine

SCHEMA = """
CREATE TABLE runs (id text PRIMARY KEY, client text, run int, rev int, hostname text, exit_code int,
    events_total int, events_rate real, cmssw_run int, cmssw_lumi int, client_path text, runkey text,
    fi_state text, "timestamp" timestamptz, vmrss text, stdlog_start text, stdlog_end text);
CREATE TABLE graphs (run int PRIMARY KEY, rev int, id text, "timestamp" timestamptz, global_start timestamptz,
    stream_data text, hostname text);
CREATE TABLE meta (name text PRIMARY KEY, data text);
CREATE TABLE hostnames (id serial PRIMARY KEY, name varchar(50) UNIQUE);
CREATE TABLE hoststatuses (id serial PRIMARY KEY, created_at timestamptz,
    host_id int REFERENCES hostnames (id), is_up boolean, message varchar);
"""
_FIRST_RUN = 300_000
_FILTER_UNITS = ("dqmfu-c2b03-45-01", "dqmfu-c2b04-45-01")
_BUILDER_UNIT = "dqmrubu-c2a06-01-01"
_STREAMS = (
    "streamDQM_sm-c2a11-43-01",
    "streamDQMCalibration_sm-c2a11-43-01",
    "streamDQMHistograms_sm-c2a11-19-01",
)
_SAMPLE_JOBS = 300
_ROWS_PER_COPY = 2000
_NULL = r"\N"
_ESCAPED = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}

_Value = str | int | float | None


def fill(engine: sa.Engine, jobs: int, polls: int) -> int:
    """Fill an empty database; return the number of runs."""
    runs = max(1, jobs // len(CLIENTS))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET synchronous_commit = off"))
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.execute(sa.text(SCHEMA))
        _copy(connection, "runs", _jobs(jobs))
        _copy(connection, "graphs", _graphs(runs))
        _copy(connection, "hostnames", enumerate((*_FILTER_UNITS, _BUILDER_UNIT), start=1))
        _copy(connection, "hoststatuses", _polls(polls))
        connection.execute(sa.text("VACUUM ANALYZE"))
    return runs


def _jobs(count: int) -> Iterator[tuple[_Value, ...]]:
    rng = random.Random(1)
    logs = _logs()
    for number in range(count):
        run = _FIRST_RUN + number // len(CLIENTS)
        client = CLIENTS[number % len(CLIENTS)]
        host = _FILTER_UNITS[number % len(_FILTER_UNITS)]
        head, tail = rng.choice(logs)
        own_line = f"[{number}] connection from {host} by user=dqmpro{number % 90}\n"
        exit_code = rng.choice((0,) * 30 + (-1, None, -11, 65))
        yield (
            *(
                f"dqm-source-state-run{run:06d}-host{host}-pid{number % 99991:06d}",
                client.tag,
                run,
                number,
                host,
            ),
            *(
                exit_code,
                1165 * (number % 7),
                3.25,
                run,
                number % 1500,
                _client_path(run, client.tag),
                "runkey=pp_run",
            ),
            *(
                "2",
                _run_start(run).isoformat(),
                "362744 kB",
                f"{head.removesuffix(']')}, {own_line!r}]",
                tail,
            ),
        )


def _logs() -> list[tuple[str, str]]:
    machine = Machine(_FILTER_UNITS[0])
    upload_finished_jobs(machine, _SAMPLE_JOBS, FakeSecrets(1))
    documents = [document["extra"] for document in machine.documents().values() if "tag" in document]
    logs = [(extra.get("stdlog_start"), extra.get("stdlog_end")) for extra in documents]
    # Some monitors send one text; the earlier mirror stored lists of lines.
    return [
        (repr(head), repr(tail)) for head, tail in logs if isinstance(head, list) and isinstance(tail, list)
    ]


def _client_path(run: int, tag: str) -> str:
    return f"/dqm_cmssw/production_CMSSW_14_0_{run % 10}_{39_000 + run // 1000}/src/clients/{tag}_cfg.py"


def _run_start(run: int) -> datetime:
    return datetime(2016, 1, 1, tzinfo=UTC) + timedelta(hours=run - _FIRST_RUN)


def _graphs(runs: int) -> Iterator[tuple[_Value, ...]]:
    rng = random.Random(2)
    samples = [
        repr({name: _stream(lumisections, rng) for name in _STREAMS}) for lumisections in range(5, 400, 10)
    ]
    for number, run in enumerate(range(_FIRST_RUN, _FIRST_RUN + runs)):
        at = _run_start(run).isoformat() if number % 3 else "2012-03-03 00:00+00"
        document = f"dqm-files-{_BUILDER_UNIT}-analyze_files-run{run}"
        yield run, number, document, at, _run_start(run).isoformat(), rng.choice(samples), _BUILDER_UNIT


def _stream(lumisections: int, rng: random.Random) -> dict[str, list[float]]:
    sections = range(1, lumisections + 1)
    times = [1663240000 + section * LUMISECTION_S + rng.random() * 9 for section in sections]
    return {
        "lumis": list(sections),
        "mtimes": times,
        "ctimes": [time + 0.002 for time in times],
        "evt_accepted": [rng.randrange(1000, 1600) for _ in sections],
        "evt_processed": [rng.randrange(40_000, 64_000) for _ in sections],
        "fsize": [rng.randrange(90_000_000, 120_000_000) for _ in sections],
    }


def _polls(count: int) -> Iterator[tuple[_Value, ...]]:
    rng = random.Random(3)
    start = datetime(2016, 1, 1, tzinfo=UTC)
    for number in range(count):
        is_up = rng.random() > 0.001
        message = None if is_up else f"timed out, {_FILTER_UNITS[0]}.cms"
        at = start + timedelta(seconds=20 * number)
        yield number, at.isoformat(), number % (len(_FILTER_UNITS) + 1) + 1, "t" if is_up else "f", message


def _copy(connection: sa.Connection, table: str, rows: Iterable[tuple[_Value, ...]]) -> None:
    """Copy rows in PostgreSQL's text format."""
    rows = iter(rows)
    cursor = connection.connection.cursor()
    while batch := list(islice(rows, _ROWS_PER_COPY)):
        lines = ["\t".join(map(_text, row)) + "\n" for row in batch]
        cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO("".join(lines)))


def _text(value: _Value) -> str:
    if value is None:
        return _NULL
    text = str(value)
    # `str.translate` takes ten times as long on logs, which are most of the data.
    for character, escape in _ESCAPED.items():
        text = text.replace(character, escape)
    return text
