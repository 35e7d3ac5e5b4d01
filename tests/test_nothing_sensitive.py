"""Nothing sensitive leaves P5: canaries planted in every position of documents are found nowhere.

The search covers dumps of both databases and the values packed in them, the response of every route, the
metrics, and the log files.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, cycle, product
from typing import Any

import pytest
import re2  # type: ignore[import-untyped]
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from werkzeug.routing import Rule

import db
from dqm2.redaction.redactor import get_redactor
from dqmsquare_cfg import Cluster, Settings
from runtime import logging_setup
from server import create_app
from simulator.documents import (
    diskspace_document,
    files_document,
    job_document,
    playback_document,
    stats_document,
)
from simulator.simulator import Simulator
from storage import codecs
from tests.canaries import KINDS, SPELLINGS, Canary, percent_encoded, planted, positions, with_key, with_value
from tests.grabber_runner import FILTER_UNIT, count_rows, mirror_once, mirrored_tables, rows
from tests.log_files import read_all_logs
from tests.postgres_clients import dumped
from tools.demo.postgres import EmbeddedPostgres

PLAIN_WORD = "zqcanaryzq"
RUN = 358788
# Fields that may contain any word and are shown: names, and the log.
_TEXT_FIELDS = ("tag", "cmdline", "stdlog_start", "stdlog_end", "run_key", "source")
_EXCLUDED = ("/cr/",)
# The day of the sample documents.
_DAY = "2022-09-15"
_API_CALLS = (
    "get_info",
    "get_run",
    "get_graph",
    "get_runs",
    "get_clients",
    "get_logs",
    "get_cluster_status",
)

numbers = count(1)
# A canary and the document that it is in.
Planted = tuple[Canary, dict[str, Any]]


def documents() -> Iterator[dict[str, Any]]:
    """A document of each mirrored type."""
    yield job_document(run=RUN, lumisections=2, extra={"stdlog_start": ["a line\n"], "stdlog_end": ["one\n"]})
    yield files_document(host=FILTER_UNIT, run=RUN, lumisections=2)
    yield playback_document(host=FILTER_UNIT, run=RUN)
    yield stats_document(host=FILTER_UNIT)
    yield diskspace_document(host=FILTER_UNIT)


def fresh(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a new id."""
    document_id = document.get("_id")
    return {**document, "_id": f"{document_id}-{next(numbers)}"}


@pytest.fixture
def logged_settings(simulated_settings: Settings) -> Settings:
    """The settings, with logging to a file as in production."""
    redact = get_redactor(simulated_settings.known_hosts, simulated_settings.redaction_allowed_hosts)
    logging_setup.configure(simulated_settings, "grabber", debug=True, redact=redact)
    return simulated_settings


@pytest.fixture
def app(logged_settings: Settings) -> Flask:
    """The application that shows the mirrored documents."""
    return create_app(logged_settings)


def assert_absent(
    canaries: Sequence[Canary],
    app: Flask,
    settings: Settings,
    postgres: EmbeddedPostgres,
    *,
    shown_jobs: int = 2,
) -> None:
    """Fail with the canaries that were found, and where: in the database, and on pages of some jobs."""
    # Logs with many canaries, and documents with one elsewhere.
    details = sorted(rows(settings, db.job_details), key=lambda row: -row["log_redactions"])
    shown = [*details[:shown_jobs], *details[shown_jobs:][-shown_jobs:]]
    places = {
        "dump": "".join(dumped(postgres, settings.database(cluster)) for cluster in Cluster),
        "packed": unpacked(settings),
        "metrics": generate_latest().decode(),
        "log": read_all_logs(settings),
        **responses(app, [str(row["identity"]) for row in shown]),
    }
    # All needles in one pass over each text, of which there are megabytes.
    needles = re2.compile("|".join(re2.escape(canary.needle.lower()) for canary in canaries))
    found = [
        (needle, place)
        for place, text in places.items()
        for needle in set(needles.findall(text.lower().encode(errors="replace")))
    ]
    assert found == []


def unpacked(settings: Settings) -> str:
    """Packed values in the database: series, input statuses, logs and streams."""
    details = [
        (
            codecs.unpack_memory(row["memory"]),
            codecs.unpack_events(row["events"]),
            codecs.unpack_input_statuses(row["input_statuses"]),
            codecs.unpack_log(row["log"], row["log_redactions"]),
        )
        for row in rows(settings, db.job_details)
    ]
    streams = [codecs.unpack_streams(row["streams"]) for row in rows(settings, db.deliveries)]
    return repr(details) + repr(streams)


def responses(app: Flask, jobs: Sequence[str]) -> dict[str, str]:
    """Responses of every route, with their headers, by URL."""
    client = app.test_client()
    found = {}
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.rule.startswith(_EXCLUDED):
            is_resource = rule.endpoint.startswith("api_v1.") and rule.arguments
            for url in resource_urls(app, rule, jobs) if is_resource else urls(rule, jobs):
                response = client.get(url)
                found[url] = response.get_data(as_text=True) + str(response.headers)
    return found


def resource_urls(app: Flask, rule: Rule, jobs: Sequence[str]) -> Iterator[str]:
    """URLs of a resource of `/api/v1/`, of all clusters, jobs and groups of crashes."""
    for cluster in Cluster:
        found = app.test_client().get(f"/api/v1/clusters/{cluster}/crash-groups?limit=100").get_json()
        values = {
            "cluster": [str(cluster)],
            "run": [str(RUN)],
            "job": jobs,
            "signature": [group["signature"] for group in found["items"]],
        }
        names = sorted(rule.arguments)
        for chosen in product(*(values[name] for name in names)):
            path = app.url_map.bind("localhost").build(rule.endpoint, dict(zip(names, chosen, strict=True)))
            yield f"{path}?cursor=0" if rule.rule.endswith("/transitions") else path


def urls(rule: Rule, jobs: Sequence[str]) -> Iterator[str]:
    """URLs of a route, with all parameters that it may have."""
    queries = [f"db={cluster}&cluster={cluster}&run={RUN}&from=0&to=999999" for cluster in Cluster]
    if rule.endpoint == "api.api":
        queries = [
            f"what={what}&id={job}&{query}" for what in _API_CALLS for query in queries for job in jobs[:2]
        ]
    if rule.endpoint.startswith("shift_report."):
        queries = [f"db={cluster}&table=crashes&from={_DAY}&to={_DAY}" for cluster in Cluster]
    for query in queries:
        if "job" in rule.arguments:
            yield from (f"{rule.rule.replace('<uuid:job>', job)}?{query}" for job in jobs)
        elif not rule.arguments:
            yield f"{rule.rule}?{query}&job={','.join(jobs[:8])}"


def mirror_planted(simulator: Simulator, settings: Settings, planted_documents: Sequence[Any]) -> None:
    """Mirror documents that contain canaries."""
    machine = simulator.machine(FILTER_UNIT)
    for document in planted_documents:
        if isinstance(document.get("_id"), str):
            machine.upload(document)
    assert mirror_once(settings)


def in_any_position() -> Iterator[Planted]:
    """A canary in each position of the documents: as a value, in a container, and as a key."""
    kinds, spellings = cycle(KINDS), cycle(SPELLINGS)
    for document in documents():
        for path in positions(document):
            canary = planted(next(kinds), next(spellings), next(numbers))
            yield canary, fresh(with_value(document, path, canary.text))
            yield canary, fresh(with_value(document, path, {canary.text: [canary.text]}))
            yield canary, fresh(with_key(document, path, canary.text, canary.text))


def in_any_spelling_in_a_log() -> Iterator[Planted]:
    """Logs with 20 canaries each, of every kind in every spelling."""
    canaries = [planted(kind, spelling, next(numbers)) for kind in KINDS for spelling in SPELLINGS]
    canaries += [percent_encoded(KINDS[kind](next(numbers))) for kind in KINDS]
    canaries += [Canary(canary.text.upper(), canary.needle) for canary in canaries]
    for at in range(0, len(canaries), 20):
        lines = [f"before {canary.text} after\n" for canary in canaries[at : at + 20]]
        log = fresh(job_document(extra={"stdlog_start": lines, "stdlog_end": lines}))
        yield from ((canary, log) for canary in canaries[at : at + 20])


def outside_names_and_logs() -> Iterator[Planted]:
    """A word that nothing marks as sensitive, in each position in which no text is shown."""
    word = Canary(PLAIN_WORD, PLAIN_WORD)
    for document in documents():
        for path in positions(document):
            if not set(path) & set(_TEXT_FIELDS):
                yield word, fresh(with_value(document, path, PLAIN_WORD))


def test_it_shows_no_canary_in_any_position_or_spelling(
    simulator: Simulator, logged_settings: Settings, app: Flask, postgres: EmbeddedPostgres
) -> None:
    """All at once: most of the work is to ask for every page and to search it."""
    found = [*in_any_position(), *in_any_spelling_in_a_log(), *outside_names_and_logs()]
    # A log has many canaries.
    documents_ = {document["_id"]: document for _, document in found}
    mirror_planted(simulator, logged_settings, list(documents_.values()))
    assert count_rows(logged_settings, db.jobs) > 200
    canaries = {canary.needle: canary for canary, _ in found}
    assert_absent(list(canaries.values()), app, logged_settings, postgres)


@pytest.mark.long
@pytest.mark.timeout(900)
@hypothesis_settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_it_shows_no_random_canary_in_a_random_position(
    simulator: Simulator,
    logged_settings: Settings,
    app: Flask,
    postgres: EmbeddedPostgres,
    data: st.DataObject,
) -> None:
    """Many at once: most of the work is to ask for every page and to search it."""
    canaries, planted_documents = [], []
    for _ in range(100):
        document = data.draw(st.sampled_from(list(documents())))
        path = data.draw(st.sampled_from(list(positions(document))))
        kind, spelling = data.draw(st.sampled_from(list(KINDS))), data.draw(st.sampled_from(list(SPELLINGS)))
        canary = planted(kind, spelling, next(numbers))
        change = data.draw(st.sampled_from(["value", "list", "key"]))
        value: Any = {"value": canary.text, "list": [canary.text], "key": {canary.text: 1}}[change]
        canaries.append(canary)
        planted_documents.append(fresh(with_value(document, path, value)))
    mirror_planted(simulator, logged_settings, planted_documents)
    assert_absent(canaries, app, logged_settings, postgres, shown_jobs=20)


def test_it_ignores_unknown_fields(simulator: Simulator, simulated_settings: Settings) -> None:
    machine = simulator.machine(FILTER_UNIT)
    originals = list(documents())
    for document in originals:
        machine.upload(document)
    assert mirror_once(simulated_settings)
    before = contents(simulated_settings)
    for document in originals:
        extra = {**document["extra"], "of_tomorrow": {"deep": ["x"]}}
        machine.upload({**document, "extra": extra, "of_tomorrow": "y"})
    assert mirror_once(simulated_settings)
    assert contents(simulated_settings) == before


def contents(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """All mirrored rows without their revisions."""
    return {
        table: [
            {name: value for name, value in row.items() if not name.endswith("revision")} for row in found
        ]
        for table, found in mirrored_tables(settings).items()
    }
