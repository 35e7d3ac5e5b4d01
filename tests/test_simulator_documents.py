"""Documents of the simulator: the structure of DQM²'s, with sensitive data of all kinds."""

import json
import random
from pathlib import Path

import pytest

from simulator.documents import (
    diskspace_document,
    files_document,
    job_document,
    playback_document,
    stats_document,
    stream,
)
from simulator.fake_secrets import FakeSecrets
from simulator.machines import Document
from simulator.simulator import Simulator

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """The jobs of a history and of a run in progress."""
    simulator = Simulator(tmp_path_factory.mktemp("simulator"), history=2, now=NOW)
    simulator.world.start_run("production")
    simulator.world.advance(300)
    return [
        document
        for machine in simulator.topology.machines
        for document in machine.documents().values()
        if document["type"] == "dqm-source-state"
    ]


def test_it_builds_the_id_of_a_job_from_run_host_and_pid(jobs: list[Document]) -> None:
    for job in jobs:
        assert job["_id"] == (
            f"dqm-source-state-run{job['run']:06d}-host{job['hostname']}-pid{job['pid']:06d}"
        )


def test_it_sends_the_fields_of_the_job_itself_as_strings(jobs: list[Document]) -> None:
    for job in jobs:
        for name in ("events_total", "events_rate", "cmssw_run", "cmssw_lumi", "fi_state"):
            assert isinstance(job.get(name, ""), str)
        for entry in job["extra"]["lumi_stats"].values():
            assert all(isinstance(value, str) for value in entry.values())
        for name in ("run", "pid"):
            assert isinstance(job[name], int)
        assert isinstance(job.get("exit_code", 0), int)


def test_it_omits_fields_that_a_job_has_not_reported_yet(jobs: list[Document]) -> None:
    own = ("events_total", "cmssw_run", "cmssw_lumi", "fi_state")
    reported = [sum(name in job for name in own) for job in jobs]
    assert set(reported) <= {0, len(own)}
    assert {job["fi_state"] for job in jobs if job.get("exit_code") == 0} == {"1", "2"}
    assert {job["fi_state"] for job in jobs if "exit_code" not in job and "fi_state" in job} == {"0"}


def test_it_reports_memory_in_pages(jobs: list[Document]) -> None:
    for job in jobs:
        at, newest = list(job["extra"]["mem_info"].items())[-1]
        assert float(at) == pytest.approx(job["timestamp"], abs=1e-5)
        size, resident, *rest = map(int, newest.split())
        assert size > resident > 0
        assert len(rest) == 5
        assert job["extra"]["ps_info"]["VmRSS"].endswith(" kB")
        assert int(job["extra"]["ps_info"]["VmRSS"].split()[0]) // 4 == resident


def test_it_puts_the_final_entry_of_a_lumisection_last(jobs: list[Document]) -> None:
    several = 0
    for job in jobs:
        entries = list(job["extra"]["lumi_stats"].items())
        assert [float(at) for at, _ in entries] == sorted(float(at) for at, _ in entries)
        newest = {entry["n"]: int(entry["nevents"]) for _, entry in entries}
        several += len(entries) - len(newest)
        if job.get("cmssw_run", "0") != "0":
            assert sum(newest.values()) == int(job["events_total"])
    assert several > 0


def test_it_reports_the_fate_of_each_lumisection(jobs: list[Document]) -> None:
    fates = {fate for job in jobs for fate in job["extra"]["lumi_seen"].values()}
    assert fates == {
        "open: file iterator",
        "close: eof",
        "close: ok",
        "skipped: timeout",
        "skipped: fast-forward to the latest lumi",
    }


def test_it_limits_the_head_and_tail_of_a_log(jobs: list[Document]) -> None:
    whole = [job for job in jobs if isinstance(job["extra"]["stdlog_end"], list)]
    for job in whole:
        for name in ("stdlog_start", "stdlog_end"):
            lines = job["extra"][name]
            assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
            assert len(lines) <= 256
        # The line at the inner end that exceeds the limit is kept.
        assert sum(map(len, job["extra"]["stdlog_start"][:-1])) < 15_000
        assert sum(map(len, job["extra"]["stdlog_end"][1:])) < 15_000
        assert job["extra"]["stdlog_start"][0].startswith("-- starting process: ['cmsRun', '/")
        if "exit_code" in job:
            assert job["extra"]["stdlog_end"][-1] == f"-- process exit: {job['exit_code']} --\n"


def test_it_builds_documents_as_large_as_the_originals(jobs: list[Document]) -> None:
    finished = sorted(len(json.dumps(job)) for job in jobs if job.get("exit_code") == 0)
    assert 38_000 < finished[len(finished) // 2] < 52_000


def test_it_sends_some_logs_in_the_formats_of_old_monitors(jobs: list[Document]) -> None:
    logs = [job["extra"]["stdlog_end"] for job in jobs]
    texts = [log for log in logs if isinstance(log, str)]
    in_texts = [text for text in texts if text.startswith('["')]
    assert all(isinstance(json.loads(text), list) for text in in_texts)
    assert 0 < len(in_texts) < len(texts) < len(logs) / 5


def test_it_includes_all_kinds_of_sensitive_data(jobs: list[Document]) -> None:
    logs = "".join(
        "".join(job["extra"]["stdlog_start"]) + "".join(job["extra"]["stdlog_end"]) for job in jobs
    )
    missing = [value for value in FakeSecrets(1).values if value not in logs]
    assert missing == []
    assert all("DQM_FFF_SECRET" in job["extra"]["environ"] for job in jobs)


def test_it_generates_other_secrets_for_another_seed() -> None:
    assert FakeSecrets(1).values == FakeSecrets(1).values
    assert set(FakeSecrets(1).values) & set(FakeSecrets(2).values) == set(FakeSecrets(1).hosts)


def test_it_ends_every_secret_log_line_with_a_newline() -> None:
    sensitive = FakeSecrets(1)
    rng = random.Random(1)
    for _ in range(200):
        lines = sensitive.log_lines(rng)
        assert all(line.endswith("\n") for line in lines)


def test_it_builds_documents_with_single_fields_changed() -> None:
    job = job_document(
        exit_code=-9, extra={"environ": {}}, without=["events_rate", "cmssw_lumi"], events_total=17
    )
    assert (job["exit_code"], job["events_total"], job["extra"]["environ"]) == (-9, 17, {})
    assert "events_rate" not in job
    assert "cmssw_lumi" not in job
    assert "exit_code" not in job_document()
    assert files_document(streams={"x": stream([1], [2.0])})["extra"]["streams"]["x"]["lumis"] == [1]
    assert stats_document(extra={"meminfo": {}})["extra"]["meminfo"] == {}
    assert diskspace_document(total_bytes=-1, file_count=None)["disk_free"] == -1
    assert "ls" not in playback_document(lumisection=None)


@pytest.mark.parametrize("small", [True, False])
def test_it_uploads_finished_jobs_in_bulk(tmp_path: Path, *, small: bool) -> None:
    simulator = Simulator(tmp_path)
    simulator.fill("dqmfu-c2b03-45-01", 1000, small=small)
    simulator.fill("dqmfu-c2b03-45-01", 500, small=small)
    machine = simulator.machine("dqmfu-c2b03-45-01")
    headers = machine.headers()
    assert [header["_rev"] for header in headers] == list(range(1, 1501))
    [stored] = machine.find([headers[700]["_id"]])
    document = stored.document()
    assert {name: document[name] for name in headers[700]} == headers[700]
    assert (len(json.dumps(document)) < 8_000) == small
