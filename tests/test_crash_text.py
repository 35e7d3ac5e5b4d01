"""Reason for a crash in one line: from the log, in the live page's row with a link, and in the e-log text."""

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from dqm2.records import CrashKind, CrashReason, StackFrame
from storage.job_state import JobState
from tests.mirrored_cluster import MirroredCluster, job
from tests.test_pages_job_table import job as shown_job
from web.pages.crash_text import headline, kind

RUN = 358_791
SEGFAULT = CrashReason(
    CrashKind.SIGNAL, "SIGSEGV", "Segmentation violation", "CSCMonitorModule", "dqmCSCClient", line=31
)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (SEGFAULT, "Segmentation violation in CSCMonitorModule:dqmCSCClient"),
        (
            replace(SEGFAULT, module_type="", frames=(StackFrame("DQMNet::logme", "libDQM.so"),)),
            "Segmentation violation in DQMNet::logme",
        ),
        (
            CrashReason(CrashKind.EXCEPTION, "ProductNotFound", "Found zero products", "A", "a", line=2),
            "ProductNotFound in A:a: Found zero products",
        ),
        (CrashReason(CrashKind.EXCEPTION, "ValueError", "ValueError: x", line=2), "Exception: ValueError: x"),
        (CrashReason(CrashKind.EXCEPTION, "", "x", line=2), "Exception: x"),
        (
            CrashReason(CrashKind.DATABASE, "StdException", "No more proxies", line=2),
            "Database error (StdException): No more proxies",
        ),
        (
            CrashReason(CrashKind.CUDA, "cudaErrorAssert", "cudaErrorAssert: device-side", "A", "a", line=2),
            "GPU error in A:a: cudaErrorAssert: device-side",
        ),
        (
            CrashReason(CrashKind.ASSERTION, "", "Assertion `x' failed in y.cc:3", line=2),
            "Assertion `x' failed in y.cc:3",
        ),
        (
            CrashReason(CrashKind.ASSERTION, "", "Assertion `x' failed in y.cc:3", "A", "a", line=2),
            "Assertion `x' failed in y.cc:3, in A:a",
        ),
        (CrashReason(CrashKind.SIGNAL, "SIGSEGV", line=2), "Signal (SIGSEGV)"),
        # The log says nothing, so the exit code is explained.
        (CrashReason(CrashKind.EXCEPTION, "FatalRootError"), "CMSSW error 8022: a fatal error in ROOT"),
        (None, "CMSSW error 8022: a fatal error in ROOT"),
    ],
)
def test_it_begins_with_what_the_log_says(reason: CrashReason | None, expected: str) -> None:
    assert headline(shown_job("csc", 1, JobState.CRASHED, exit_code=86, crash=reason)) == expected


def test_it_has_words_for_all_kinds() -> None:
    assert all(kind(CrashReason(kind_, "x")) for kind_ in CrashKind)
    assert kind(CrashReason(CrashKind.CUDA)) == "GPU error"
    assert kind(CrashReason(CrashKind.UNKNOWN, "NoMap", "The map is empty")) == "Error"
    assert kind(CrashReason(CrashKind.UNKNOWN)) == "The log does not say why"


def test_it_is_in_the_row_of_the_client_and_leads_to_the_log(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    hostile = replace(SEGFAULT, message="<script>alert(1)</script>")
    crashed = job(RUN, "csc", exit_code=-11, crash=hostile)
    unexplained = job(RUN, "dt", exit_code=86)
    mirrored.write(mirrored.filter_units[0], crashed, unexplained)
    page = client.get("/live/run").text
    assert f"/job/{crashed.document.identity}?db=production#L31" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; in CSCMonitorModule:dqmCSCClient</a>" in page
    assert "<script>alert(1)" not in page
    assert f"/job/{unexplained.document.identity}?db=production#fatal" in page
    assert "CMSSW error 8022: a fatal error in ROOT</a>" in page


def test_it_stays_in_the_row_after_a_restart(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "csc", exit_code=-11, crash=SEGFAULT, lumisection=10),
        job(RUN, "csc"),
    )
    assert "Last crash: Segmentation violation in CSCMonitorModule" in client.get("/live/run").text


def test_it_is_in_the_text_for_the_elog(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "csc", exit_code=-11, crash=SEGFAULT))
    text = client.get("/live/run").text
    assert ": Segmentation violation in CSCMonitorModule:dqmCSCClient (exit code -11)." in text
