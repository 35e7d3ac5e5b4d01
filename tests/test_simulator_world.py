"""The life of the simulated clusters: history, consecutive runs, jobs that report, end and fail."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator.machines import Document
from simulator.runs import PlaybackConfig, StoppedRun
from simulator.simulator import Simulator
from tests.examples import core_of
from tests.waiting import until

NOW = 1_800_000_000.0
CLIENTS = (
    "beam",
    "beamhlt",
    "ecalcalib",
    "hlt_dqm_clientPB-live",
    "visualization-live-secondInstance",
    "csc",
)
FILTER_UNIT = "dqmfu-c2b03-45-01"
BUILDER_UNIT = "dqmrubu-c2a06-01-01"


@pytest.fixture
def simulator(tmp_path: Path) -> Simulator:
    """A paused and empty simulator; it need not be served."""
    return Simulator(tmp_path, clients=CLIENTS, now=NOW, run_length=(40, 40))


def documents(
    simulator: Simulator, kind: str = "dqm-source-state", cluster: str = "production", **fields: Any
) -> list[Document]:
    return [
        document
        for machine in simulator.topology.machines_of(Cluster(cluster))
        for stored in machine.stored()
        if stored.header.type == kind and fields.items() <= (document := stored.document()).items()
    ]


def job(simulator: Simulator, client: str) -> Document:
    """The newest job document of a client."""
    found = documents(simulator, tag=f"{client}_dqm_sourceclient-live")
    return max(found, key=lambda document: document["timestamp"])


def advance_lumisections(simulator: Simulator, count: float) -> None:
    simulator.world.advance(count * LUMISECTION_S)


def test_it_is_empty_and_paused_by_default(simulator: Simulator) -> None:
    simulator.world.advance(3600)
    assert [machine.highest_revision for machine in simulator.topology.machines] == [0] * 6


@pytest.mark.parametrize("cluster", core_of(Cluster, Cluster.PLAYBACK))
def test_it_has_a_history(tmp_path: Path, cluster: Cluster) -> None:
    simulator = Simulator(tmp_path, history=15, now=NOW, clients=CLIENTS)
    jobs = documents(simulator, cluster=cluster)
    runs = sorted({document["run"] for document in jobs})
    assert len(runs) == 15
    assert len(jobs) >= 15 * len(CLIENTS)
    assert len(documents(simulator, "dqm-files", cluster)) == 15
    assert len(documents(simulator, "dqm-playback", cluster)) == (15 if cluster is Cluster.PLAYBACK else 0)
    assert len(documents(simulator, "dqm-stats", cluster)) == 3
    times = [document["timestamp"] for document in jobs]
    assert max(times) < NOW
    assert NOW - min(times) > 86_400
    codes = {document.get("exit_code") for document in jobs}
    assert {0, -9, None} < codes
    assert any(code > 0 for code in codes if code is not None)


def test_it_generates_the_same_history_from_the_same_seed(tmp_path: Path) -> None:
    def history(seed: int) -> str:
        simulator = Simulator(tmp_path, history=1, seed=seed, now=NOW, clients=CLIENTS)
        return json.dumps([machine.documents() for machine in simulator.topology.machines])

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_it_builds_the_same_document_each_time(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 10)
    before = [machine.documents() for machine in simulator.topology.machines]
    assert [machine.documents() for machine in simulator.topology.machines] == before


def test_it_distributes_the_jobs_of_a_run_over_the_filter_units(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 5)
    hosts = [document["hostname"] for document in documents(simulator)]
    assert sorted(hosts) == ["dqmfu-c2b03-45-01"] * 3 + ["dqmfu-c2b04-45-01"] * 3


def test_it_lets_jobs_report_every_half_minute(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    machine = simulator.machine(FILTER_UNIT)
    simulator.world.advance(35)
    before = job(simulator, "beam")
    highest = machine.highest_revision
    simulator.world.advance(30)
    after = job(simulator, "beam")
    assert after["_id"] == before["_id"]
    assert after["_rev"] > highest
    assert after["timestamp"] - before["timestamp"] == pytest.approx(30.0)
    assert len(after["extra"]["mem_info"]) == len(before["extra"]["mem_info"]) + 1


def test_it_advances_by_lumisections(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 10)
    early = job(simulator, "csc")
    advance_lumisections(simulator, 10)
    late = job(simulator, "csc")
    assert 8 <= int(early["cmssw_lumi"]) <= 10
    assert int(late["cmssw_lumi"]) - int(early["cmssw_lumi"]) in (9, 10, 11)
    assert int(late["events_total"]) > int(early["events_total"])
    assert "exit_code" not in late


def test_it_starts_the_next_run_after_the_last_lumisection(simulator: Simulator) -> None:
    first = simulator.world.start_run("production")
    advance_lumisections(simulator, 42)
    assert simulator.world.current_run("production") is None
    ended = {document.get("exit_code") for document in documents(simulator)}
    assert 0 in ended
    advance_lumisections(simulator, 10)
    second = simulator.world.current_run("production")
    assert second is not None
    assert second.number > first.number
    assert {document["run"] for document in documents(simulator)} == {first.number, second.number}
    assert all(document["timestamp"] <= simulator.world.now for document in documents(simulator))


def test_it_lets_a_job_crash(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 5)
    simulator.world.crash("production", "beam", -11)
    crashed = job(simulator, "beam")
    assert (crashed["exit_code"], crashed["timestamp"]) == (-11, simulator.world.now)
    assert "segmentation violation" in "".join(crashed["extra"]["stdlog_end"])
    assert crashed["extra"]["stdlog_end"][-1] == "-- process exit: -11 --\n"
    with pytest.raises(LookupError, match="beam"):
        simulator.world.crash("production", "beam")


def test_it_lets_a_job_finish_early(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 5)
    simulator.world.finish("production", "beam")
    assert job(simulator, "beam")["exit_code"] == 0


def test_it_lets_a_job_hang_until_the_run_ends(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 5)
    simulator.world.hang("production", "beam")
    hung_at = simulator.world.now
    advance_lumisections(simulator, 30)
    assert job(simulator, "beam")["timestamp"] <= hung_at
    assert job(simulator, "csc")["timestamp"] > hung_at
    advance_lumisections(simulator, 8)
    assert job(simulator, "beam")["exit_code"] == -9


def test_it_lets_a_job_stall_but_report(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 5)
    simulator.world.stall("production", "beam")
    advance_lumisections(simulator, 3)
    before = job(simulator, "beam")
    advance_lumisections(simulator, 20)
    after = job(simulator, "beam")
    assert after["timestamp"] > before["timestamp"]
    assert after["cmssw_lumi"] == before["cmssw_lumi"]
    assert "Waiting for the next event" in after["extra"]["stdlog_end"][-1]


def test_it_lets_a_job_vanish_with_its_monitor(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 5)
    before = job(simulator, "beam")
    simulator.world.vanish("production", "beam")
    advance_lumisections(simulator, 100)
    [vanished] = documents(simulator, _id=before["_id"])
    assert vanished == before
    assert "exit_code" not in vanished


def test_it_starts_an_extra_job_at_the_current_lumisection(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 10)
    simulator.world.crash("production", "csc", 65)
    simulator.world.start_extra_job("production", "csc")
    advance_lumisections(simulator, 4)
    first, second = documents(simulator, tag="csc_dqm_sourceclient-live")
    assert first["pid"] != second["pid"]
    assert first["exit_code"] == 65
    assert second["extra"]["lumi_seen"]["lumi000001"] == "skipped: fast-forward to the latest lumi"
    assert "exit_code" not in second


@pytest.mark.long
def test_it_restarts_clients_after_some_crashes(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path, history=25, now=NOW, clients=CLIENTS)
    by_client: dict[tuple[int, str], list[Document]] = {}
    for document in documents(simulator):
        by_client.setdefault((document["run"], document["tag"]), []).append(document)
    restarted = [jobs for jobs in by_client.values() if len(jobs) > 1]
    assert restarted
    assert all(any(job.get("exit_code", 0) > 0 for job in jobs) for jobs in restarted)


def test_it_reports_the_delivery_of_the_last_five_runs(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path, history=7, now=NOW, clients=["beam"], run_length=(40, 40))
    simulator.world.start_run("production")
    before = {document["run"]: document["_rev"] for document in documents(simulator, "dqm-files")}
    simulator.world.advance(106)
    after = {document["run"]: document["_rev"] for document in documents(simulator, "dqm-files")}
    reported_again = [run for run in sorted(after) if after[run] != before.get(run)]
    assert reported_again == sorted(after)[-5:]


def test_it_reports_streams_with_delays(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    advance_lumisections(simulator, 20)
    [document] = documents(simulator, "dqm-files")
    extra = document["extra"]
    assert len(extra["streams"]) == 10
    assert "streamDQM_sm-c2a11-43-01" in extra["streams"]
    for stream in extra["streams"].values():
        assert len({len(entries) for entries in stream.values()}) == 1
        delays = [
            mtime - extra["global_start"] - extra["lumi"] - (lumisection - 1) * extra["lumi"]
            for lumisection, mtime in zip(stream["lumis"], stream["mtimes"], strict=True)
        ]
        assert all(0 < delay < 5 * 31 for delay in delays)
        assert max(stream["mtimes"]) <= document["timestamp"]


def test_it_reports_no_start_of_a_run_before_its_first_file(simulator: Simulator) -> None:
    simulator.world.start_run("production")
    [document] = documents(simulator, "dqm-files")
    assert document["extra"]["global_start"] is None


def test_it_reports_the_playback_at_each_lumisection(simulator: Simulator) -> None:
    simulator.world.configure_playback(PlaybackConfig("run300576", "hi_run", 12))
    simulator.world.start_run("playback")
    [playback] = documents(simulator, "dqm-playback", "playback")
    assert "ls" not in playback
    assert (playback["state"], playback["config"]["number_of_ls"]) == ("running", 12)
    assert playback["config"]["source"].rstrip("/").endswith("/run300576")
    seen: list[int] = []
    for _ in range(11):
        advance_lumisections(simulator, 1)
        [playback] = documents(simulator, "dqm-playback", "playback")
        seen.append(playback["ls"])
    assert seen == list(range(1, 12))
    advance_lumisections(simulator, 1)
    [playback] = documents(simulator, "dqm-playback", "playback")
    assert (playback["state"], playback["ls"]) == ("eor", 12)


@pytest.mark.parametrize(
    ("host", "kind", "interval_s"),
    [(FILTER_UNIT, "dqm-stats", 75), (BUILDER_UNIT, "dqm-stats", 75), (BUILDER_UNIT, "dqm-diskspace", 30)],
)
def test_it_reports_machine_stats_periodically(
    simulator: Simulator, host: str, kind: str, interval_s: float
) -> None:
    simulator.world.start_run("production")

    def reported_at() -> float:
        [document] = documents(simulator, kind, hostname=host)
        return float(document["timestamp"])

    first = reported_at()
    simulator.world.advance(interval_s + 1)
    assert reported_at() - first == pytest.approx(interval_s)


def test_it_runs_faster_with_correct_timestamps(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path, clients=CLIENTS, speed=10, now=NOW, run_length=(40, 40))
    simulator.world.start_run("production")
    simulator.world.advance(10 * LUMISECTION_S / 10)
    newest = job(simulator, "csc")
    assert 8 <= int(newest["cmssw_lumi"]) <= 10
    assert NOW < newest["timestamp"] <= NOW + LUMISECTION_S
    [files] = documents(simulator, "dqm-files")
    assert files["extra"]["lumi"] == pytest.approx(LUMISECTION_S / 10)


def test_it_uses_the_clock_of_each_machine(tmp_path: Path) -> None:
    simulator = Simulator(
        tmp_path, clients=CLIENTS, now=NOW, run_length=(40, 40), clock_offsets_s={FILTER_UNIT: 3600.0}
    )
    simulator.world.start_run("production")
    advance_lumisections(simulator, 10)
    ahead = [document for document in documents(simulator) if document["hostname"] == FILTER_UNIT]
    right = [document for document in documents(simulator) if document["hostname"] != FILTER_UNIT]
    now = simulator.world.now
    assert all(now + 3600 - 35 <= document["timestamp"] <= now + 3600 for document in ahead)
    assert all(now - 35 <= document["timestamp"] <= now for document in right)
    assert {int(document["cmssw_lumi"]) for document in ahead + right} <= {0, 8, 9, 10}


def test_it_deletes_the_documents_of_old_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.cluster_life._RUNS_KEPT", 10)
    simulator = Simulator(tmp_path, history=12, now=NOW, clients=["beam"])
    assert len({document["run"] for document in documents(simulator)}) == 10


def test_it_continues_after_the_last_run_of_an_earlier_simulator(tmp_path: Path) -> None:
    first = Simulator(tmp_path, history=7, now=NOW, run_length=(40, 40), clients=CLIENTS)
    run = first.world.start_run("production")
    first.world.advance(30 * LUMISECTION_S)
    last = StoppedRun(run.number, run.started_at, first.world.now)
    second = Simulator(
        tmp_path,
        history=5,
        now=NOW + 12 * 3600,
        run_length=(40, 40),
        clients=CLIENTS,
        resume_after={Cluster.PRODUCTION: last},
    )
    assert runs(second) == [run.number]
    before = {document["_id"]: document for document in documents(first, run=run.number)}
    after = {document["_id"]: document for document in documents(second)}
    assert after.keys() == before.keys()
    for identity, document in after.items():
        assert document["timestamp"] <= NOW + 33 * LUMISECTION_S
        assert document["pid"] == before[identity]["pid"]
        if "exit_code" in before[identity]:
            assert document["exit_code"] == before[identity]["exit_code"]
    assert second.world.start_run("production").number == first.world.start_run("production").number


def runs(simulator: Simulator) -> list[int]:
    """The runs with job documents, ascending."""
    return sorted({document["run"] for document in documents(simulator)})


def test_it_follows_the_wall_clock_when_it_is_live(tmp_path: Path) -> None:
    others = set(threading.enumerate())
    simulator = Simulator(tmp_path, live=True, speed=200, clients=CLIENTS, run_length=(10, 10))
    with simulator:
        first = simulator.world.current_run("production")
        assert first is not None
        until(
            lambda: (
                (run := simulator.world.current_run("production")) is not None and run.number > first.number
            )
        )
        with pytest.raises(RuntimeError, match="live"):
            simulator.world.advance(1)
    assert simulator.machine(FILTER_UNIT).highest_revision > len(CLIENTS)
    until(lambda: set(threading.enumerate()) <= others)
