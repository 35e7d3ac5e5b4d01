"""Nothing sensitive gets past the grabber: canaries planted everywhere are found nowhere afterwards.

What is searched is all that the mirror can give away: a dump of both databases and what is packed in them,
every answer of every route of the application, the metrics, and the log files.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, cycle
from typing import Any

import pytest
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
from tests.grabber_runner import FILTER_UNIT, mirror_once, mirrored_tables, rows
from tests.log_files import read_all_logs
from tests.postgres_clients import dumped
from tools.demo.postgres import EmbeddedPostgres

FREE_FORM = "zqcanaryzq"
RUN = 358788
# Where a free text may stand and is shown: names that have a shape of their own, and the log.
_FREE_TEXT = ("tag", "cmdline", "stdlog_start", "stdlog_end", "run_key", "source")
_NOT_SWEPT = ("/cr/",)
_WHATS = (
    "get_info",
    "get_run",
    "get_graph",
    "get_runs",
    "get_clients",
    "get_logs",
    "get_cluster_status",
)

numbers = count(1)


def documents() -> Iterator[dict[str, Any]]:
    """A document of each type that is mirrored."""
    yield job_document(run=RUN, lumisections=2, extra={"stdlog_start": ["a line\n"], "stdlog_end": ["one\n"]})
    yield files_document(host=FILTER_UNIT, run=RUN, lumisections=2)
    yield playback_document(host=FILTER_UNIT, run=RUN)
    yield stats_document(host=FILTER_UNIT)
    yield diskspace_document(host=FILTER_UNIT)


def fresh(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document under an id of its own, if its id is a text at all."""
    document_id = document.get("_id")
    return {**document, "_id": f"{document_id}-{next(numbers)}"}


@pytest.fixture
def logged_settings(simulated_settings: Settings) -> Settings:
    """The settings, with the log going to its file as in production."""
    redact = get_redactor(simulated_settings.known_hosts, simulated_settings.redaction_allowed_hosts)
    logging_setup.configure(simulated_settings, "grabber", debug=True, redact=redact)
    return simulated_settings


@pytest.fixture
def app(logged_settings: Settings) -> Flask:
    """The application that shows what was mirrored."""
    return create_app(logged_settings)


def assert_gone(
    canaries: Sequence[Canary], app: Flask, settings: Settings, postgres: EmbeddedPostgres
) -> None:
    """Fails with the needles that anything of the mirror's gives away, and where."""
    places = {
        "dump": "".join(dumped(postgres, settings.database(cluster)) for cluster in Cluster),
        "packed": unpacked(settings),
        "metrics": generate_latest().decode(),
        "log": read_all_logs(settings),
        **answers(app, [str(job["identity"]) for job in rows(settings, db.jobs)][:10]),
    }
    found = [
        (canary.needle, place)
        for place, text in ((place, text.lower()) for place, text in places.items())
        for canary in canaries
        if canary.needle.lower() in text
    ]
    assert found == []


def unpacked(settings: Settings) -> str:
    """What the database keeps packed: series, fates, logs and streams."""
    kept = [
        (
            codecs.unpack_memory(row["memory"]),
            codecs.unpack_events(row["events"]),
            codecs.unpack_input_statuses(row["input_statuses"]),
            codecs.unpack_log(row["log"], row["log_redactions"]),
        )
        for row in rows(settings, db.job_details)
    ]
    streams = [codecs.unpack_streams(row["streams"]) for row in rows(settings, db.deliveries)]
    return repr(kept) + repr(streams)


def answers(app: Flask, jobs: Sequence[str]) -> dict[str, str]:
    """What every route answers to what shows something, by address."""
    client = app.test_client()
    shown = {}
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.rule.startswith(_NOT_SWEPT):
            for address in addresses(rule, jobs):
                response = client.get(address)
                shown[address] = response.get_data(as_text=True) + str(response.headers)
    return shown


def addresses(rule: Rule, jobs: Sequence[str]) -> Iterator[str]:
    """The addresses of a route, with parameters for whatever it may ask for."""
    queries = [f"db={cluster}&cluster={cluster}&run={RUN}&from=0&to=999999" for cluster in Cluster]
    if rule.endpoint == "api.answer":
        queries = [
            f"what={what}&id={job}&{query}" for what in _WHATS for query in queries for job in jobs[:2]
        ]
    for query in queries:
        if "job" in rule.arguments:
            yield from (f"{rule.rule.replace('<uuid:job>', job)}?{query}" for job in jobs)
        elif not rule.arguments:
            yield f"{rule.rule}?{query}&job={','.join(jobs[:8])}"


def mirror_planted(simulator: Simulator, settings: Settings, planted_documents: Sequence[Any]) -> None:
    """Mirrors documents, and makes the machines fail with names in the reasons."""
    machine = simulator.machine(FILTER_UNIT)
    for document in planted_documents:
        if isinstance(document.get("_id"), str):
            machine.upload(document)
    assert mirror_once(settings)


def test_it_shows_no_canary_wherever_one_is_planted(
    simulator: Simulator, logged_settings: Settings, app: Flask, postgres: EmbeddedPostgres
) -> None:
    kinds, spellings = cycle(KINDS), cycle(SPELLINGS)
    canaries, documents_ = [], []
    for document in documents():
        for path in positions(document):
            canary = planted(next(kinds), next(spellings), next(numbers))
            canaries.append(canary)
            documents_.append(fresh(with_value(document, path, canary.text)))
            documents_.append(fresh(with_value(document, path, {canary.text: [canary.text]})))
            documents_.append(fresh(with_key(document, path, canary.text, canary.text)))
    mirror_planted(simulator, logged_settings, documents_)
    assert len(rows(logged_settings, db.jobs)) > 100
    assert_gone(canaries, app, logged_settings, postgres)


def test_it_shows_no_canary_in_any_spelling_in_a_log(
    simulator: Simulator, logged_settings: Settings, app: Flask, postgres: EmbeddedPostgres
) -> None:
    canaries = [planted(kind, spelling, next(numbers)) for kind in KINDS for spelling in SPELLINGS]
    canaries += [percent_encoded(KINDS[kind](next(numbers))) for kind in KINDS]
    canaries += [Canary(canary.text.upper(), canary.needle) for canary in canaries]
    lines = [f"before {canary.text} after\n" for canary in canaries]
    logs_ = [lines[at : at + 20] for at in range(0, len(lines), 20)]
    mirror_planted(
        simulator,
        logged_settings,
        [fresh(job_document(extra={"stdlog_start": lines, "stdlog_end": lines})) for lines in logs_],
    )
    assert_gone(canaries, app, logged_settings, postgres)


def test_it_shows_no_free_text_where_a_shape_refuses_it(
    simulator: Simulator, logged_settings: Settings, app: Flask, postgres: EmbeddedPostgres
) -> None:
    free = Canary(FREE_FORM, FREE_FORM)
    planted_documents = [
        fresh(with_value(document, path, FREE_FORM))
        for document in documents()
        for path in positions(document)
        if not set(path) & set(_FREE_TEXT)
    ]
    mirror_planted(simulator, logged_settings, planted_documents)
    assert_gone([free], app, logged_settings, postgres)


@pytest.mark.long
@pytest.mark.timeout(900)
@hypothesis_settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_it_shows_no_canary_of_any_kind_in_any_spelling_at_any_place(
    simulator: Simulator,
    logged_settings: Settings,
    app: Flask,
    postgres: EmbeddedPostgres,
    data: st.DataObject,
) -> None:
    canaries, planted_documents = [], []
    for _ in range(20):
        document = data.draw(st.sampled_from(list(documents())))
        path = data.draw(st.sampled_from(list(positions(document))))
        kind, spelling = data.draw(st.sampled_from(list(KINDS))), data.draw(st.sampled_from(list(SPELLINGS)))
        canary = planted(kind, spelling, next(numbers))
        change = data.draw(st.sampled_from(["value", "list", "key"]))
        value: Any = {"value": canary.text, "list": [canary.text], "key": {canary.text: 1}}[change]
        canaries.append(canary)
        planted_documents.append(fresh(with_value(document, path, value)))
    mirror_planted(simulator, logged_settings, planted_documents)
    assert_gone(canaries, app, logged_settings, postgres)


def test_it_mirrors_a_document_with_fields_that_nobody_has_heard_of_like_one_without(
    simulator: Simulator, simulated_settings: Settings
) -> None:
    machine = simulator.machine(FILTER_UNIT)
    known = list(documents())
    for document in known:
        machine.upload(document)
    assert mirror_once(simulated_settings)
    before = contents(simulated_settings)
    for document in known:
        extra = {**document["extra"], "of_tomorrow": {"deep": ["x"]}}
        machine.upload({**document, "extra": extra, "of_tomorrow": "y"})
    assert mirror_once(simulated_settings)
    assert contents(simulated_settings) == before


def contents(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Every mirrored row without its revision."""
    return {
        table: [{name: value for name, value in row.items() if name != "revision"} for row in found]
        for table, found in mirrored_tables(settings).items()
    }
