"""Responses of `/api`, exactly: scripts at CERN compute with these shapes."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from dqm2.records import LUMISECTION_S, DeliveryRecord, DocumentVersion, JobLog, Stream
from dqmsquare_cfg import Cluster, Settings
from storage.sync_status import LinkStatus
from tests.mirrored_cluster import MirroredCluster, delivery, job, with_series

RUN = 358_791
# Rounded up, it would be in the next second.
NOW = datetime(2026, 11, 20, 12, 0, 0, 999_999, tzinfo=UTC)


def ask(client: FlaskClient, what: str, **parameters: object) -> Any:
    query = {"what": what, "db": "production", **parameters}
    answer = client.get("/api", query_string={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/json"
    return json.loads(answer.text, parse_constant=pytest.fail)


def test_it_reports_the_lowest_and_the_highest_run(client: FlaskClient, mirrored: MirroredCluster) -> None:
    assert ask(client, "get_info") == [None, None]
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"), job(RUN + 7, "beam"), job(RUN - 3, "beam"))
    assert ask(client, "get_info") == [RUN - 3, RUN + 7]


def test_it_keeps_the_clusters_apart(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    assert ask(client, "get_info", db="playback") == [None, None]


def test_it_reports_a_run_and_its_jobs(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    reported_at = datetime.now(UTC).replace(microsecond=NOW.microsecond) - timedelta(seconds=90)
    shown = job(RUN, "beampixel", at=reported_at, exit_code=-9, events_rate=57.5)
    mirrored.write(unit, shown, job(RUN - 20, "beam"), job(RUN + 4, "beam"))

    asked_at = datetime.now(UTC)
    neighbours, (description, jobs) = ask(client, "get_run", run=RUN)
    answered_at = datetime.now(UTC)

    assert neighbours == [RUN - 20, RUN + 4]
    assert description == ["12_4_8_39145_39162", "pp_run"]
    (updated_ms, seconds_since, *others) = jobs[0]
    assert updated_ms == math.floor(reported_at.timestamp() * 1000)
    second = timedelta(seconds=1)
    assert (asked_at - reported_at) // second <= seconds_since <= (answered_at - reported_at) // second
    assert others == [
        mirrored.label(unit),
        -9,
        "beampixel",
        300,
        "1812744 kB",
        628_953,
        str(shown.document.identity),
        57.5,
    ]


def test_it_marks_what_a_job_does_not_have(client: FlaskClient, mirrored: MirroredCluster) -> None:
    bare = job(
        RUN,
        "beam",
        run_key=None,
        cmssw_version=None,
        lumisection=None,
        lumisection_at=None,
        rss_kb=None,
        events_total=None,
        events_rate=None,
    )
    mirrored.write(mirrored.filter_units[0], bare)
    _, (description, [shown]) = ask(client, "get_run", run=RUN)
    assert description == ["", ""]
    assert shown[3:] == [None, "beam", -1, "", -1, str(bare.document.identity), -1]


@pytest.mark.parametrize("rate", [math.nan, math.inf, -math.inf])
def test_it_writes_no_number_that_json_does_not_have(
    client: FlaskClient, mirrored: MirroredCluster, rate: float
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam", events_rate=rate))
    _, (_, [shown]) = ask(client, "get_run", run=RUN)
    assert shown[-1] == -1


def test_it_orders_jobs_by_client_then_by_start(client: FlaskClient, mirrored: MirroredCluster) -> None:
    first, second = (job(RUN, "dt", started_at=NOW + timedelta(minutes=after)) for after in (0, 5))
    mirrored.write(mirrored.filter_units[0], second, job(RUN, "sistrip"))
    mirrored.write(mirrored.filter_units[1], first, job(RUN, "beam"))
    _, (_, jobs) = ask(client, "get_run", run=RUN)
    assert [shown[4] for shown in jobs] == ["beam", "dt", "dt", "sistrip"]
    assert [jobs[1][8], jobs[2][8]] == [str(first.document.identity), str(second.document.identity)]


def test_it_answers_an_unknown_run_with_its_neighbours(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    assert ask(client, "get_run", run=RUN + 1) == [[RUN, None], [[], []]]
    assert ask(client, "get_run", run=-5) == [[None, RUN], [[], []]]


def test_it_reports_file_delivery(client: FlaskClient, mirrored: MirroredCluster) -> None:
    stream = Stream(
        "streamDQM", [1, 2], [1_663_242_342_450, 1_663_242_366_000], [1, 2], [7, -1], [8, -1], [9, -1]
    )
    record = DeliveryRecord(
        document=DocumentVersion(uuid4(), 0, NOW),
        run=RUN,
        global_start=NOW - timedelta(hours=1),
        global_start_is_guess=False,
        lumisection_s=LUMISECTION_S,
        streams=(stream, replace(stream, name="streamDQM·2")),
    )
    mirrored.write(mirrored.builder_unit, record)
    columns = {
        "lumis": [1, 2],
        "mtimes": [1_663_242_342.45, 1_663_242_366],
        "ctimes": [0.001, 0.002],
        "evt_accepted": [7, -1],
        "evt_processed": [8, -1],
        "fsize": [9, -1],
    }
    assert ask(client, "get_graph", run=RUN) == [
        RUN,
        1,
        str(record.document.identity),
        NOW.timestamp(),
        (NOW - timedelta(hours=1)).timestamp(),
        {"streamDQM": columns, "streamDQM·2": columns},
        mirrored.label(mirrored.builder_unit),
    ]


def test_it_reports_file_delivery_that_has_not_begun(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.builder_unit, replace(delivery(RUN, NOW, 0, ()), global_start=None))
    run, _revision, _id, _updated, global_start, streams, _machine = ask(client, "get_graph", run=RUN)
    assert (run, global_start, streams) == (RUN, -1, {})
    assert ask(client, "get_graph", run=RUN + 1) == []


def test_it_reports_a_range_of_runs(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    mirrored.write(
        unit, job(RUN, "beam", at=NOW, exit_code=0), job(RUN, "dt", at=NOW, fi_state=None, cmssw_run=0)
    )
    mirrored.write(unit, job(RUN + 1, "beam", at=NOW, cmssw_run=None, run_key=None), job(RUN + 9, "beam"))
    label = mirrored.label(unit)
    assert ask(client, "get_runs", **{"from": RUN, "to": RUN + 8}) == {
        str(RUN): {
            "run_data": [RUN, "pp_run", "12_4_8_39145_39162"],
            "clients": {
                "beam": [[label, 628_953, 300, "0", 0, "2026-11-20T12:00:00.999999+00:00"]],
                "dt": [[label, 628_953, 300, "", None, "2026-11-20T12:00:00.999999+00:00"]],
            },
        },
        str(RUN + 1): {
            "run_data": [-1, "", "12_4_8_39145_39162"],
            "clients": {"beam": [[label, 628_953, 300, "0", None, "2026-11-20T12:00:00.999999+00:00"]]},
        },
    }


def test_it_takes_a_range_in_either_order(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"), job(RUN + 1, "dt"))
    for what in ("get_runs", "get_clients"):
        there = ask(client, what, **{"from": RUN, "to": RUN + 1})
        assert (
            there
            == ask(client, what, **{"from": RUN + 1, "to": RUN})
            != ask(client, what, **{"from": RUN, "to": RUN})
        )


def test_it_leaves_out_of_a_range_what_is_not_asked_for(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "finished", exit_code=0),
        job(RUN, "crashed", exit_code=-11),
        job(RUN, "running"),
        job(RUN, "waiting", lumisection=None),
        job(RUN, "idle", lumisection=0, exit_code=0),
        job(RUN + 1, "finished", exit_code=0),
    )

    def clients(**asked: int) -> dict[str, set[str]]:
        runs = ask(client, "get_runs", **{"from": RUN, "to": RUN + 1}, **asked)
        return {run: set(shown["clients"]) for run, shown in runs.items()}

    everyone = {"finished", "crashed", "running", "waiting", "idle"}
    assert clients() == clients(bad_only=0, ls=0) == {str(RUN): everyone, str(RUN + 1): {"finished"}}
    assert clients(bad_only=1) == {str(RUN): {"crashed", "running", "waiting"}}
    assert clients(ls=1) == {str(RUN): {"finished", "crashed", "running"}, str(RUN + 1): {"finished"}}
    assert clients(ls=1, bad_only=1) == {str(RUN): {"crashed", "running"}}


def test_it_answers_an_empty_range_with_an_empty_object(client: FlaskClient) -> None:
    assert ask(client, "get_runs", **{"from": 1, "to": 2}) == {}


def test_it_reports_a_long_range_in_full(client: FlaskClient, mirrored: MirroredCluster) -> None:
    runs = range(RUN, RUN + 600)
    mirrored.write(
        mirrored.filter_units[0], *(job(run, client) for run in runs for client in ("beam", "dt", "ecal"))
    )
    by_run = ask(client, "get_runs", **{"from": 0, "to": 2**31 - 1})
    assert [int(run) for run in by_run] == list(runs)
    assert all(set(shown["clients"]) == {"beam", "dt", "ecal"} for shown in by_run.values())


def test_it_lists_clients_sorted(client: FlaskClient, mirrored: MirroredCluster) -> None:
    odd = replace(job(RUN, "x"), client="of_another_make")
    mirrored.write(mirrored.filter_units[0], job(RUN, "dt"), job(RUN + 1, "beam"), job(RUN, "beam"), odd)
    assert ask(client, "get_clients", **{"from": RUN, "to": RUN + 1}) == ["beam", "dt", "of_another_make"]


def test_it_reports_whether_machines_are_up(client: FlaskClient, settings: Settings) -> None:
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    assert ask(client, "get_cluster_status") == []
    checked_at = NOW + timedelta(minutes=3)
    hosts = [playback.builder_unit, *playback.filter_units]
    for host in hosts[:-1]:
        playback.set_machine_state(host, NOW)
    playback.set_machine_state(hosts[-1], NOW - timedelta(hours=1))
    playback.set_machine_state(hosts[-1], NOW, down_reason="gaierror(-2, 'Name or service not known')")
    playback.beat(checked_at)

    rows = ask(client, "get_cluster_status")

    assert sorted(rows) == rows
    assert sorted(row[0] for row in rows) == sorted(map(playback.label, hosts))
    expected: dict[str, list[Any]] = {
        playback.label(host): [True, None, math.floor(checked_at.timestamp())] for host in hosts
    }
    expected[playback.label(hosts[-1])][:2] = [False, "gaierror(-2, 'Name or service not known')"]
    assert {row[0]: row[1:] for row in rows} == expected
    assert ask(client, "get_cluster_status", cluster="production") == []


def test_it_reports_the_last_known_states_until_dqm2_has_answered(
    client: FlaskClient, settings: Settings
) -> None:
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    host = playback.filter_units[0]
    playback.set_machine_state(host, NOW - timedelta(days=2), down_reason="timed out")
    known_at = math.floor((NOW - timedelta(days=2)).timestamp())
    playback.beat(NOW, status=LinkStatus(failing_since=NOW, reason="timed out"))
    assert ask(client, "get_cluster_status") == [[playback.label(host), False, "timed out", known_at]]
    playback.beat(NOW)
    assert ask(client, "get_cluster_status") == [
        [playback.label(host), False, "timed out", math.floor(NOW.timestamp())]
    ]


def test_it_shows_head_and_tail_of_a_log(client: FlaskClient, mirrored: MirroredCluster) -> None:
    log = JobLog("<script>alert('&')</script>\nfirst\n", "last\n</pre><b>bold\n")
    shown = job(RUN, "beam", log=log)
    mirrored.write(mirrored.filter_units[0], shown)
    answer = client.get(f"/api?what=get_logs&db=production&id={shown.document.identity}")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "<pre>&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;\nfirst\n" in answer.text
    assert answer.text.index("first") < answer.text.index("is not kept") < answer.text.index("last")
    assert "&lt;/pre&gt;&lt;b&gt;bold\n</pre>" in answer.text


def test_it_shows_a_short_log_once(client: FlaskClient, mirrored: MirroredCluster) -> None:
    lines = [f"line {number}\n" for number in range(300)]
    shown = job(RUN, "beam", log=JobLog("".join(lines[:200]), "".join(lines[-200:])))
    mirrored.write(mirrored.filter_units[0], shown)
    answer = client.get(f"/api?what=get_logs&db=production&id={shown.document.identity}")
    assert f"<pre>{''.join(lines)}</pre>" in answer.text


def test_it_sends_no_body_to_a_client_that_has_it(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], with_series(job(RUN, "beam")))
    address = f"/api?what=get_clients&db=production&from={RUN}&to={RUN}"
    first = client.get(address)
    again = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.text) == (304, "")
    assert first.headers["Cache-Control"] == "no-cache"
    mirrored.write(mirrored.filter_units[0], job(RUN, "dt"))
    changed = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.json == ["beam", "dt"]


def test_it_compresses_a_long_response_for_clients_that_accept_it(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    mirrored.write(mirrored.builder_unit, delivery(RUN, NOW, 200))
    address = f"/api?what=get_graph&db=production&run={RUN}"
    plain = client.get(address)
    compressed = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert len(compressed.data) < len(plain.data) / 3
    assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    # Of the same content, in other bytes.
    assert compressed.headers["ETag"] == f"W/{plain.headers['ETag']}"


def test_it_leaves_out_names_that_are_no_clients(client: FlaskClient, mirrored: MirroredCluster) -> None:
    named = [replace(job(RUN, "beam"), client=client) for client in ("__init__", "unknown")]
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"), *named)
    assert ask(client, "get_clients", **{"from": RUN, "to": RUN}) == ["beam"]
