"""The API as a plain Flask application: the reference that the mirror's rates are compared with.

A query per call, JSON by the standard library and no cache, as in earlier mirrors.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from flask import Flask, Response, request

import db
import dqmsquare_cfg
from dqmsquare_cfg import Cluster
from storage import codecs
from storage.log_dictionaries import DictionaryStore

_POOL_SIZE = 8


def create_app() -> Flask:
    """Application that answers `/api?what=…` from the production cluster's database."""
    app = Flask(__name__, static_folder=None)
    settings = dqmsquare_cfg.load()
    api = _PlainApi(db.engine(settings, Cluster.PRODUCTION, "benchmark", pool_size=_POOL_SIZE))

    @app.get("/api")
    def respond() -> Response:
        content: Callable[[], Any] = getattr(api, request.args["what"])
        found = content()
        is_page = isinstance(found, str)
        return Response(
            found if is_page else json.dumps(found), mimetype="text/html" if is_page else "application/json"
        )

    return app


class _PlainApi:
    """Content of each call, by its name."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._dictionaries = DictionaryStore(database)

    def get_info(self) -> list[int]:
        runs = db.runs.c.run
        return list(self._rows(sa.select(sa.func.min(runs), sa.func.max(runs)))[0])

    def get_run(self) -> list[Any]:
        run, number = int(request.args["run"]), db.runs.c.run
        before = self._rows(sa.select(sa.func.max(number)).where(number < run))[0][0]
        after = self._rows(sa.select(sa.func.min(number)).where(number > run))[0][0]
        [metadata] = self._rows(sa.select(db.runs).where(number == run))
        now = datetime.now(UTC)
        jobs = [
            [
                int(job.updated_at.timestamp() * 1000),
                int((now - job.updated_at).total_seconds()),
                job.label,
                job.exit_code,
                job.client,
                job.lumisection,
                f"{job.rss_kb} kB",
                job.events_total,
                str(job.identity),
                job.events_rate,
            ]
            for job in self._jobs(db.jobs.c.run == run)
        ]
        return [[before, after], [[metadata.cmssw_version, metadata.run_key], jobs]]

    def get_graph(self) -> list[Any]:
        [row] = self._rows(sa.select(db.deliveries).where(db.deliveries.c.run == int(request.args["run"])))
        streams = {
            stream.name: {
                "lumis": list(stream.lumisections),
                "mtimes": [at_ms / 1000 for at_ms in stream.mtimes_ms],
                "ctimes": [at_ms / 1000 for at_ms in stream.ctimes_ms],
                "evt_accepted": list(stream.events_accepted),
                "evt_processed": list(stream.events_processed),
                "fsize": list(stream.sizes_bytes),
            }
            for stream in codecs.unpack_streams(row.streams)
        }
        return [row.run, row.revision, str(row.identity), row.updated_at.timestamp(), -1, streams]

    def get_runs(self) -> dict[int, Any]:
        condition = self._range()
        found: dict[int, Any] = {
            row.run: {"run_data": [row.run, row.run_key, row.cmssw_version], "clients": {}}
            for row in self._rows(sa.select(db.runs).where(condition(db.runs.c.run)))
        }
        for job in self._jobs(condition(db.jobs.c.run)):
            at = job.updated_at.isoformat()
            values = [job.label, job.events_total, job.lumisection, job.fi_state, job.exit_code, at]
            found[job.run]["clients"].setdefault(job.client, []).append(values)
        return found

    def get_clients(self) -> list[str]:
        condition = self._range()
        clients = sa.select(db.jobs.c.client).distinct().where(condition(db.jobs.c.run))
        return sorted(row.client for row in self._rows(clients))

    def get_logs(self) -> str:
        details = db.job_details.c
        [row] = self._rows(sa.select(details.log).where(details.identity == UUID(request.args["id"])))
        log = codecs.unpack_log(row.log, 0, self._dictionaries.for_log(row.log))
        return f"<pre>{escape(log.head)}{escape(log.tail)}</pre>"

    def get_cluster_status(self) -> list[Any]:
        states, machines = db.machine_states.c, db.machines.c
        newest = (
            sa.select(machines.label, states.is_up, states.reason, states.since)
            .where(states.machine_id == machines.id)
            .order_by(states.since.desc())
            .limit(1)
        )
        numbers = [row.id for row in self._rows(sa.select(machines.id))]
        found = [self._rows(newest.where(machines.id == number)) for number in numbers]
        return [[row.label, row.is_up, row.reason, row.since.timestamp()] for rows in found for row in rows]

    def _range(self) -> Callable[[sa.Column[int]], sa.ColumnElement[bool]]:
        first, last = sorted((int(request.args["from"]), int(request.args["to"])))
        return lambda run: run.between(first, last)

    def _jobs(self, condition: sa.ColumnElement[bool]) -> Sequence[Any]:
        joined = sa.select(db.jobs, db.machines.c.label).join_from(db.jobs, db.machines)
        return self._rows(joined.where(condition).order_by(db.jobs.c.run, db.jobs.c.client))

    def _rows(self, statement: sa.Select[Any]) -> Sequence[Any]:
        with self._database.connect() as connection:
            return connection.execute(statement).all()
