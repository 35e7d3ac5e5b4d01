"""The reason for the end of a job: found in its log, or in its exit code, and bounded."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.crash_corpus import CRASH_LOGS, CrashLog
from dqm2.crash_reasons import analyze
from dqm2.log_messages import full_text
from dqm2.records import CrashKind, CrashReason, JobLog
from dqm2.stack_traces import crashed_frames, function_name
from simulator.crash_log import Crash, last_lines
from tests.test_log_messages import TEXTS


def reason_of(log: JobLog, exit_code: int) -> CrashReason:
    reason = analyze(log, exit_code).crash
    assert reason is not None
    return reason


def test_it_finds_no_reason_unless_the_job_crashed() -> None:
    log = JobLog(CRASH_LOGS[0].variation(0))
    assert analyze(log, None).crash is None
    assert analyze(log, 0).crash is None


@pytest.mark.parametrize("crash", CRASH_LOGS, ids=lambda crash: crash.name)
def test_it_finds_the_reason_for_crashes_of_all_kinds(crash: CrashLog) -> None:
    for number in range(3):
        text = crash.variation(number)
        reason = reason_of(JobLog("began\n", text), crash.exit_code)
        assert (reason.kind, reason.category, reason.module_type) == (
            crash.kind,
            crash.category,
            crash.module,
        )
        assert crash.message in reason.message
        if crash.function:
            assert reason.frames[0].function == crash.function
            assert not any("0x" in frame.function for frame in reason.frames)


@pytest.mark.parametrize("crash", CRASH_LOGS, ids=lambda crash: crash.name)
def test_it_names_the_line_of_the_reason(crash: CrashLog) -> None:
    log = JobLog("began\n", crash.variation(1))
    reason = reason_of(log, crash.exit_code)
    if reason.line is not None:
        line = full_text(log).split("\n")[reason.line - 1]
        assert any(
            word in line for word in ("xception", "atal", "rror", "ssertion", "terminate", "illed")
        ) or (any(word in line for word in ("Traceback", "fault", "double free", "oom", "timeout")))


def test_it_reads_a_log_whose_beginning_is_cut_off() -> None:
    text = next(crash for crash in CRASH_LOGS if crash.category == "CorruptedData").variation(0)
    reason = reason_of(JobLog("", text[text.index("   [3] Calling") :]), 65)
    assert (reason.kind, reason.module_type) == (CrashKind.EXCEPTION, "SiStripZeroSuppression")
    assert "Requested noise" in reason.message
    crash = next(crash for crash in CRASH_LOGS if crash.name == "segmentation violation in a client")
    text = crash.variation(0)
    reason = reason_of(JobLog("", text[text.index("#4  <signal") :]), -11)
    assert (reason.kind, reason.category, reason.module_type) == (CrashKind.SIGNAL, "SIGSEGV", crash.module)
    assert reason.frames[0].function == crash.function


def test_it_takes_the_last_error_if_nothing_else_explains_the_end() -> None:
    log = JobLog("%MSG-e NoMap:  CSCMonitor:csc  15-Sep-2022\nThe map is empty. It ends.\n%MSG\n")
    reason = reason_of(log, 3)
    assert reason == CrashReason(CrashKind.UNKNOWN, "NoMap", "The map is empty", "CSCMonitor", "csc", line=1)
    far = JobLog(log.head + "well\n" * 60)
    assert reason_of(far, 3) == CrashReason(CrashKind.UNKNOWN)


def test_it_does_not_blame_an_error_for_a_kill() -> None:
    log = JobLog("Traceback (most recent call last):\n  x\nValueError: y\n")
    assert reason_of(log, -9) == CrashReason(CrashKind.KILLED, "SIGKILL")
    assert reason_of(log, 1).category == "ValueError"


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("RPCDcsInfoClient::dqmEndJob(int, a<b>&) () from /x/lib.so", "RPCDcsInfoClient::dqmEndJob"),
        ("non-virtual thunk to A::b(int) ()", "A::b"),
        (
            "std::exception_ptr edm::Worker::run<edm::T<E, (edm::B)1> >(int)",
            "edm::Worker::run<edm::T<E, (edm::B)1> >",
        ),
        ("main::{lambda()#1}::operator()() const ()", "main::{lambda()#1}::operator()"),
        ("(anonymous namespace)::f(int) ()", "(anonymous namespace)::f"),
        ("a::b<c> (waiter=..., t=0x7fb0) at /b/x.h:334", "a::b<c>"),
        ("full_read.constprop () from /x.so", "full_read.constprop"),
        ("?? () from /x.so", "??"),
        ("operator<< <char> (o=...)", "operator<< <char>"),
        (f"f<{'a' * 60}>::g()", "f<…>::g"),
    ],
)
def test_it_names_the_function_of_a_frame(signature: str, name: str) -> None:
    assert function_name(signature) == name


@given(TEXTS, TEXTS, st.integers(-(2**31), 2**31 - 1))
def test_it_never_fails_and_stays_short(head: str, tail: str, exit_code: int) -> None:
    reason = analyze(JobLog(head, tail), exit_code).crash
    assert (reason is None) == (exit_code == 0)
    if reason is not None:
        texts = [reason.category, reason.module_type, reason.module_label]
        assert all(len(text) <= 100 for text in texts)
        assert len(reason.message) <= 300
        assert "\n" not in reason.message
        assert len(reason.frames) <= 5


@given(st.sampled_from(CRASH_LOGS), st.integers(min_value=0), st.integers(min_value=0))
def test_it_takes_a_log_cut_anywhere(crash: CrashLog, start: int, end: int) -> None:
    text = crash.variation(0)
    analyze(JobLog(text[: end % len(text)], text[start % len(text) :]), crash.exit_code)


@given(st.text(alphabet="#<>(){} :\n0x12abf,-", max_size=300))
def test_it_takes_any_stack_trace(text: str) -> None:
    crashed_frames(text, 0, len(text))
    function_name(text)


@pytest.mark.parametrize("exit_code", [-15, -11, -8, -7, -6, -4, 65, 66, 70, 84, 85, 90])
def test_it_explains_the_crashes_of_the_simulator(exit_code: int) -> None:
    crash = Crash("csc", "CMSSW_12_4_8", 358_788, 120, "/fff/run1_ls0120.dat", "15-Sep-2022", exit_code)
    for seed in range(6):
        log = JobLog(tail="".join(last_lines(crash, random.Random(seed))))
        reason = reason_of(log, exit_code)
        assert reason.message
        assert reason.kind is not CrashKind.UNKNOWN
        assert reason.module_type in ("CSCMonitorModule", "DQMStreamerReader", "")
