"""Grabbers under test, in this process or as separate ones, and checks of what they wrote."""

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from prometheus_client import REGISTRY

import db
from dqm2.headers import Header
from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Cluster, Settings
from grabber import Grabber
from grabbing.document_pipeline import DocumentProcessor, KeyedHeader, WorkItem
from grabbing.stop_event import StopEvent
from simulator.http_types import RecordedRequest, Request
from simulator.simulator import Simulator
from storage import codecs
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
from storage.reader import MirrorReader
from storage.rows import DocumentRow
from storage.sync_status import LinkStatus
from tests import fork_server
from tests.databases import kept_engine
from tests.waiting import TIMEOUT_S

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = Cluster.PRODUCTION
GrabberProcess = fork_server.ForkedProgram | subprocess.Popen[str]
_MAX_DIFFERENCES = 5
# Numbers of documents: a grabber parses few itself, and many in parser processes.
FEW, MANY = 200, 1050
BUILDER_UNIT, FILTER_UNIT, OTHER_FILTER_UNIT = "dqmrubu-c2a06-01-01", "dqmfu-c2b03-45-01", "dqmfu-c2b04-45-01"


def mirror_once(settings: Settings, cluster: Cluster = CLUSTER) -> bool:
    """Make one pass over a cluster's machines; return whether all were mirrored."""
    return Grabber(settings, cluster, StopEvent()).run_once()


def reader(settings: Settings, cluster: Cluster = CLUSTER) -> MirrorReader:
    """The reader that the pages use."""
    database, rules = kept_engine(settings, cluster), StateRules.for_cluster(settings, cluster)
    return MirrorReader(database, rules, DictionaryStore(database))


def rows(settings: Settings, table: sa.Table, cluster: Cluster = CLUSTER) -> list[dict[str, Any]]:
    """All rows of a table, ordered by its first column."""
    with kept_engine(settings, cluster).connect() as connection:
        found = connection.execute(sa.select(table).order_by(table.c[0])).mappings().all()
    return [dict(row) for row in found]


def count_rows(settings: Settings, table: sa.Table) -> int:
    """The number of rows of a table."""
    with kept_engine(settings, CLUSTER).connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def execute(settings: Settings, *statements: sa.Executable, cluster: Cluster = CLUSTER) -> None:
    """Execute statements in one transaction."""
    with kept_engine(settings, cluster).begin() as connection:
        for statement in statements:
            connection.execute(statement)


def is_waited_for(settings: Settings, table: sa.Table) -> bool:
    """Whether a transaction waits for a lock of a table."""
    waiting = sa.text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = :table ::regclass)"
    )
    with kept_engine(settings, CLUSTER).connect() as connection:
        return bool(connection.scalar(waiting.bindparams(table=table.name)))


def mirrored_tables(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """The rows of all mirrored documents, by table."""
    tables = (*db.DOCUMENT_TABLES, db.job_details, db.runs)
    return {table.name: rows(settings, table) for table in tables}


@contextmanager
def running_grabber(settings: Settings) -> Iterator[Grabber]:
    """A grabber that runs on a thread of this process."""
    stop = StopEvent()
    grabber = Grabber(settings, CLUSTER, stop)
    thread = threading.Thread(target=grabber.run)
    thread.start()
    try:
        yield grabber
    finally:
        stop.set()
        thread.join(timeout=TIMEOUT_S)
        assert not thread.is_alive()


@contextmanager
def grabber_process(
    environment: Mapping[str, str], *arguments: str, forked: bool = True
) -> Iterator[GrabberProcess]:
    """A grabber as a process; killed at the end if it still runs.

    It is forked from one that has imported it or, more slowly, started as in production.
    """
    process: GrabberProcess = (
        fork_server.start("grabber", arguments, environment)
        if forked
        else subprocess.Popen(
            [sys.executable, "grabber.py", *arguments],
            cwd=ROOT,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_log(process: GrabberProcess, event: str) -> str:
    """Wait for a log line that contains `event` and return it; fail if the process exits before."""
    assert process.stdout is not None
    line = next((line for line in process.stdout if event in line), None)
    assert line is not None, f"it exited without logging {event!r}"
    return line


def hold_documents(
    simulator: Simulator, is_due: Callable[[], object]
) -> tuple[threading.Event, threading.Event]:
    """Hold a request for documents once `is_due`; one event says that it is held, the other releases it."""
    held, release = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if b"request_documents" in request.body and not release.is_set() and is_due():
            held.set()
            release.wait(TIMEOUT_S)

    simulator.on_request = hold
    return held, release


def requests_to(simulator: Simulator, host: str) -> list[tuple[str, RecordedRequest]]:
    """The messages sent to a machine: the event of each, with its request."""
    return [
        (message["event"], request)
        for request in simulator.requests
        if ("path", host) in request.query
        for message in request.messages
    ]


def poll_pauses_s(simulator: Simulator, host: str) -> list[float]:
    """The pauses between consecutive requests for a machine's headers."""
    headers = [request for event, request in requests_to(simulator, host) if event == "sync_request"]
    return [after.started_s - before.ended_s for before, after in pairwise(headers)]


def machine_links(settings: Settings) -> dict[str, LinkStatus]:
    """The status of the machines' links as the pages see it, by label."""
    freshness = reader(settings).cluster.sync_status()
    return dict(freshness.machines) if freshness else {}


def gateway_link(settings: Settings) -> LinkStatus:
    """The status of the gateway as the pages see it."""
    freshness = reader(settings).cluster.sync_status()
    return freshness.gateway if freshness else LinkStatus()


def metric(name: str, machine: str) -> float:
    """The value of a metric of this process for a machine of the production cluster; 0 if it has none."""
    labels = {"cluster": Cluster.PRODUCTION.value, "machine": machine}
    return REGISTRY.get_sample_value(f"dqmsquare_{name}", labels) or 0.0


def mirrored_runs(settings: Settings) -> set[int]:
    """The runs of all jobs in the database."""
    with kept_engine(settings, CLUSTER).connect() as connection:
        return set(connection.scalars(sa.select(db.jobs.c.run).distinct()))


def expected_rows(settings: Settings, simulator: Simulator, hosts: Iterable[str]) -> dict[UUID, DocumentRow]:
    """The rows expected for all documents of some machines, by pseudonym."""
    processor = DocumentProcessor(settings.known_hosts, settings.redaction_allowed_hosts)
    pseudonyms = Pseudonymizer(settings.pseudonym_secret)
    expected: dict[UUID, DocumentRow] = {}
    for host in hosts:
        for document in simulator.machine(host).documents().values():
            header = Header(document["_id"], document["_rev"], document["type"], None)
            keyed = KeyedHeader(header, pseudonyms.for_document(host, header.id))
            message = json.dumps({"event": "update_documents", "documents": [document]})
            answer = json.dumps({"messages": [message]}).encode()
            for row in processor.process(WorkItem([keyed], answer)).rows:
                expected[row.document.identity] = row
    return expected


def differences(
    settings: Settings, simulator: Simulator, cluster: Cluster = CLUSTER, *, allow_extra: bool = False
) -> list[str]:
    """Descriptions of the first differences between the database and a cluster's machines.

    `allow_extra`: ignore documents that the machines do not have any more.
    """
    expected = expected_rows(settings, simulator, settings.machines(cluster))
    found = _stored_rows(settings, cluster)
    missing = [f"{row.type} of run {row.run} is missing" for id_, row in expected.items() if id_ not in found]
    extra = set() if allow_extra else found.keys() - expected.keys()
    unexpected = [f"{found[id_]} belongs to no document" for id_ in extra]
    different = [
        f"{row.type} of run {row.run}: {name} is {found[id_][name]!r}, not {value!r}"
        for id_, row in expected.items()
        if id_ in found
        for name, value in _columns(row).items()
        if not _is_same(found[id_][name], value)
    ]
    return (missing + unexpected + different)[:_MAX_DIFFERENCES]


def _stored_rows(settings: Settings, cluster: Cluster) -> dict[UUID, dict[str, Any]]:
    documents = {
        row["identity"]: row
        for table in db.DOCUMENT_TABLES
        if table is not db.quarantined_documents
        for row in rows(settings, table, cluster)
    }
    dictionaries = DictionaryStore(kept_engine(settings, cluster))
    for details in rows(settings, db.job_details, cluster):
        packed, replaced = details["log"], details["log_redactions"]
        details["log"] = codecs.unpack_log(packed, replaced, dictionaries.for_log(packed))
        documents[details["identity"]] |= details
    return documents


def _columns(row: DocumentRow) -> dict[str, Any]:
    """The columns of a row that depend on its document only."""
    columns = {**row.columns, **(row.details or {}), "revision": row.document.revision}
    if row.details is not None:
        columns["log"] = codecs.unpack_log(row.details["log"], row.details["log_redactions"])
    # These keep the earliest value of all reports.
    return {name: value for name, value in columns.items() if name not in ("started_at", "lumisection_at")}


def _is_same(found: Any, value: Any) -> bool:
    # Rates are stored in single precision.
    if isinstance(found, float) and isinstance(value, float):
        return math.isclose(found, value, rel_tol=1e-6)
    return bool(found == value)
