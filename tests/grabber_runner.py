"""A grabber under test, in this process or as one of its own, and what it has written."""

import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from prometheus_client import REGISTRY

import db
from dqm2.pseudonyms import Pseudonymizer
from dqm2.sync_messages import Header
from dqmsquare_cfg import Cluster, Settings
from grabber import Grabber
from grabbing.document_pipeline import DocumentProcessor, KeyedHeader, WorkItem
from grabbing.gateway_queue import StopEvent
from simulator.http_types import RecordedRequest
from simulator.simulator import Simulator
from storage import codecs
from storage.log_compression import DictionaryStore
from storage.reader import MirrorReader
from storage.rows import DocumentRow
from storage.sync_status import LinkStatus
from tests.waiting import TIMEOUT_S

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = Cluster.PRODUCTION
_MOST_TOLD = 5
BUILDER_UNIT, FILTER_UNIT, OTHER_FILTER_UNIT = "dqmrubu-c2a06-01-01", "dqmfu-c2b03-45-01", "dqmfu-c2b04-45-01"


def mirror_once(settings: Settings, cluster: Cluster = CLUSTER) -> bool:
    """One pass over a cluster's machines; whether all were mirrored."""
    return Grabber(settings, cluster, StopEvent()).run_once()


def reader(settings: Settings, cluster: Cluster = CLUSTER) -> MirrorReader:
    """What pages would read."""
    database = db.engine(settings, cluster, "tests")
    return MirrorReader(database, timedelta(seconds=settings.stuck_after_s))


def rows(settings: Settings, table: sa.Table, cluster: Cluster = CLUSTER) -> list[dict[str, Any]]:
    """All rows of a table, in the order of its first column."""
    database = db.engine(settings, cluster, "tests")
    with database.connect() as connection:
        found = connection.execute(sa.select(table).order_by(table.c[0])).mappings().all()
    database.dispose()
    return [dict(row) for row in found]


def mirrored_tables(settings: Settings, cluster: Cluster = CLUSTER) -> dict[str, list[dict[str, Any]]]:
    """Every mirrored document, by table."""
    tables = (*db.DOCUMENT_TABLES, db.job_details, db.runs)
    return {table.name: rows(settings, table, cluster) for table in tables}


@contextmanager
def running_grabber(settings: Settings, cluster: Cluster = CLUSTER) -> Iterator[Grabber]:
    """A grabber at work on a thread of this process."""
    stop = StopEvent()
    grabber = Grabber(settings, cluster, stop)
    thread = threading.Thread(target=grabber.run)
    thread.start()
    try:
        yield grabber
    finally:
        stop.set()
        thread.join(timeout=TIMEOUT_S)
        assert not thread.is_alive()


@contextmanager
def grabber_process(environment: Mapping[str, str], *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A grabber as the process that it is in production; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "grabber.py", *arguments],
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for_log(process: "subprocess.Popen[str]", event: str) -> str:
    """Waits until a process tells an event in its log; the line. Raises AssertionError if it ends before."""
    assert process.stdout is not None
    line = next((line for line in process.stdout if event in line), None)
    assert line is not None, f"it ended before it told {event!r}"
    return line


def requests_to(simulator: Simulator, host: str) -> list[tuple[str, RecordedRequest]]:
    """What a machine was asked, in turn: the event of each message, and the request that it came with."""
    return [
        (message["event"], request)
        for request in simulator.requests
        if ("path", host) in request.query
        for message in request.messages
    ]


def poll_pauses_s(simulator: Simulator, host: str) -> list[float]:
    """How long it was from each question for headers of a machine to the next one."""
    headers = [request for event, request in requests_to(simulator, host) if event == "sync_request"]
    return [after.started_s - before.ended_s for before, after in pairwise(headers)]


def machine_links(settings: Settings) -> dict[str, LinkStatus]:
    """What pages are told of each machine's link, by label."""
    freshness = reader(settings).sync_status()
    return dict(freshness.machines) if freshness else {}


def gateway_link(settings: Settings) -> LinkStatus:
    """What pages are told of the gateway."""
    freshness = reader(settings).sync_status()
    return freshness.gateway if freshness else LinkStatus()


def metric(name: str, machine: str) -> float:
    """What the metrics of a grabber in this process tell of a machine of the production cluster."""
    labels = {"cluster": Cluster.PRODUCTION.value, "machine": machine}
    return REGISTRY.get_sample_value(f"dqmsquare_{name}", labels) or 0.0


def mirrored_runs(settings: Settings) -> set[int]:
    """The runs of the jobs in the database."""
    return {job["run"] for job in rows(settings, db.jobs)}


def expected_rows(settings: Settings, simulator: Simulator, hosts: Iterable[str]) -> dict[UUID, DocumentRow]:
    """The row that each document which machines hold is to become, by identity."""
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
    settings: Settings, simulator: Simulator, cluster: Cluster = CLUSTER, *, may_hold_more: bool = False
) -> list[str]:
    """Where the database does not hold exactly what the machines of a cluster hold; some of it.

    `may_hold_more`: what the machines have tidied away since.
    """
    expected = expected_rows(settings, simulator, settings.machines(cluster))
    found = _as_written(settings, cluster)
    missing = [f"{row.type} of run {row.run} is missing" for id_, row in expected.items() if id_ not in found]
    more = set() if may_hold_more else found.keys() - expected.keys()
    unknown = [f"{found[id_]} is of no document" for id_ in more]
    other = [
        f"{row.type} of run {row.run}: {name} is {found[id_][name]!r}, not {value!r}"
        for id_, row in expected.items()
        if id_ in found
        for name, value in _columns(row).items()
        if not _is_same(found[id_][name], value)
    ]
    return (missing + unknown + other)[:_MOST_TOLD]


def _as_written(settings: Settings, cluster: Cluster) -> dict[UUID, dict[str, Any]]:
    documents = {
        row["identity"]: row
        for table in db.DOCUMENT_TABLES
        if table is not db.quarantined_documents
        for row in rows(settings, table, cluster)
    }
    dictionaries = DictionaryStore(db.engine(settings, cluster, "tests"))
    for details in rows(settings, db.job_details, cluster):
        packed, replaced = details["log"], details["log_redactions"]
        details["log"] = codecs.unpack_log(packed, replaced, dictionaries.for_log(packed))
        documents[details["identity"]] |= details
    return documents


def _columns(row: DocumentRow) -> dict[str, Any]:
    """The columns of a row that depend on nothing but its document."""
    columns = {**row.columns, **(row.details or {}), "revision": row.document.revision}
    if row.details is not None:
        columns["log"] = codecs.unpack_log(row.details["log"], row.details["log_redactions"])
    # Kept from the first report on, whatever the newest says.
    return {name: value for name, value in columns.items() if name not in ("started_at", "lumisection_at")}


def _is_same(found: Any, value: Any) -> bool:
    # Rates are kept in single precision.
    if isinstance(found, float) and isinstance(value, float):
        return math.isclose(found, value, rel_tol=1e-6)
    return bool(found == value)
