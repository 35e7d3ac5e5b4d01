"""The reason for the end of a job: found in its log, or in its exit code, and bounded."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.crash_corpus import CRASH_LOGS, CrashLog
from dqm2.crash_reasons import analyze
from dqm2.log_messages import full_text
from dqm2.records import CrashKind, CrashReason, JobLog
from dqm2.stack_traces import MAX_FRAMES, crashed_frames, function_name
from simulator.crash_log import Crash, last_lines
from tests.examples import examples
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


def test_it_names_the_line_of_the_reason() -> None:
    words = (
        *("xception", "atal", "rror", "ERROR", "ssertion", "terminate", "illed", "Check failed"),
        *("Traceback", "fault", "ree", "oom", "timeout", "not found", "No such file"),
    )
    for crash in CRASH_LOGS:
        log = JobLog("began\n", crash.variation(1))
        reason = reason_of(log, crash.exit_code)
        if reason.line is not None:
            line = full_text(log).split("\n")[reason.line - 1]
            assert any(word in line for word in words), crash.name


def test_it_reads_a_log_whose_beginning_is_cut_off() -> None:
    text = next(crash for crash in CRASH_LOGS if crash.category == "CorruptedData").variation(0)
    reason = reason_of(JobLog("", text[text.index("   [3] Calling") :]), 65)
    assert (reason.kind, reason.module_type) == (CrashKind.EXCEPTION, "SiStripZeroSuppression")
    assert "Requested noise" in reason.message
    text = next(crash for crash in CRASH_LOGS if crash.category == "FileOpenError").variation(0)
    reason = reason_of(JobLog("", text[text.index("   [0] ") :]), 84)
    assert (reason.kind, reason.category) == (CrashKind.NO_INPUT, "FileOpenError")
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


FATAL_SIGNAL = "A fatal system signal has occurred: segmentation violation\n"


def frame(number: int, function: str, path: str = "/opt/cmssw/lib/pluginDQM.so") -> str:
    return f"#{number}  0x00007fa21c965601 in {function} () from {path}\n"


def test_it_takes_the_frames_of_the_thread_that_crashed() -> None:
    waiting = (
        frame(2, "sig_pause_for_stacktrace", "/opt/cmssw/lib/pluginFWCoreServicesPlugins.so")
        + "#3  <signal handler called>\n"
        + frame(4, "Bystander::produce")
    )
    crashed = (
        frame(3, "sig_dostack_then_abort", "/opt/cmssw/lib/pluginFWCoreServicesPlugins.so")
        + "#4  <signal handler called>\n"
        + frame(5, "Culprit::produce")
    )
    threads = f"Thread 3 (LWP 3):\n{waiting}Thread 2 (LWP 2):\n{crashed}Thread 1 (LWP 1):\n{waiting}"
    frames = reason_of(JobLog(FATAL_SIGNAL + threads), -11).frames
    assert [frame.function for frame in frames] == ["Culprit::produce"]
    # The trace is cut before the thread that crashed.
    assert reason_of(JobLog(f"{FATAL_SIGNAL}Thread 3 (LWP 3):\n{waiting}"), -11).frames == ()


def test_it_takes_frames_of_external_software_only_if_there_are_no_others() -> None:
    external = frame(6, "TTree::Fill", "/cvmfs/cms.cern.ch/el8/lcg/root/6.30/lib/libTree.so")
    trace = f"{FATAL_SIGNAL}Thread 1 (LWP 1):\n#5  <signal handler called>\n{external}"
    own = reason_of(JobLog(trace + frame(7, "Histograms::save")), -11).frames
    assert [frame.function for frame in own] == ["Histograms::save"]
    assert [frame.library for frame in reason_of(JobLog(trace), -11).frames] == ["libTree.so"]


def test_it_ends_a_trace_of_root_at_its_rule() -> None:
    trace = "#5  <signal handler called>\n" + frame(6, "Histograms::save")
    rule = "=" * 59 + "\n"
    log = JobLog(f" *** Break *** segmentation violation\n\n{rule}{trace}{rule}\nHints:\n{rule}{trace}{rule}")
    assert [frame.function for frame in reason_of(log, -11).frames] == ["Histograms::save"]


def test_it_reads_an_exception_within_another() -> None:
    nested = "An exception of category '{}' occurred.\nException Message:\nno file x.root here. Look.\n"
    outer = (
        "----- Begin Fatal Exception 01-Jul-2024 18:59:07 CEST---\n"
        "An exception of category 'ConfigFileReadError' occurred while\n"
        "   [0] Processing the python configuration file named x.py\n"
        "Exception Message:\n unknown python problem occurred.\n"
        f"RuntimeError: {nested.format('FileInPathError')}"
        "----- End Fatal Exception ---\n"
    )
    reason = reason_of(JobLog(outer), 90)
    assert (reason.category, reason.message) == ("ConfigFileReadError", "no file x.root here")
    terminated = "terminate called after throwing an instance of 'cms::Exception'\n  what():  "
    reason = reason_of(JobLog(terminated + nested.format("FileReadError")), 134)
    assert (reason.kind, reason.category) == (CrashKind.NO_INPUT, "FileReadError")
    assert reason.message == "no file x.root here"


def test_it_reads_on_behind_the_name_of_a_function() -> None:
    log = JobLog(
        "An exception of category 'FileReadError' occurred while\n   [0] Calling InputSource::readEvent\n"
        "Exception Message:\nStreamerInputFile::openStreamerFile\nNo such file. Look.\n"
    )
    assert reason_of(log, 85).message == "StreamerInputFile::openStreamerFile: No such file"


def test_it_names_the_component_of_the_event_setup() -> None:
    log = JobLog(
        "An exception of category 'NoRecord' occurred while\n"
        "   [0] Calling method for module TrackMonitor/'tracks'\n"
        "   [1] Using EventSetup component DetMap/'' to make data DetMap/'' in record TopologyRcd\n"
        "   [2] Running EventSetup component QualityProducer/'quality\n"
        'Exception Message:\nNo "CablingRcd" record found.\n'
    )
    reason = reason_of(log, 65)
    assert (reason.module_type, reason.module_label) == ("QualityProducer", "quality")


def test_it_takes_the_module_of_a_gpu_error_from_the_exception_below() -> None:
    error = "x.hpp(66) 'TApi::free(ptr)' returned error  : 'cudaErrorIllegalAddress': 'an illegal access'!\n"
    log = JobLog(
        f"{error}An exception of category 'StdException' occurred while\n"
        "   [0] Calling method for module HitProducer@alpaka/'hits'\n"
        f"Exception Message:\nA std::exception was thrown.\n{error}"
    )
    reason = reason_of(log, 66)
    assert (reason.kind, reason.category) == (CrashKind.CUDA, "cudaErrorIllegalAddress")
    assert (reason.module_type, reason.module_label, reason.line) == ("HitProducer@alpaka", "hits", 1)


def test_it_reads_modules_with_a_namespace() -> None:
    crashed = "Module: alpaka_serial_sync::HitProducer:hits (crashed)\n"
    reason = reason_of(JobLog(FATAL_SIGNAL + crashed), -11)
    assert (reason.module_type, reason.module_label) == ("alpaka_serial_sync::HitProducer", "hits")
    logged = "%MSG-e Hits:  alpaka_serial_sync::HitProducer:hits  15-Sep-2024\nx\n%MSG\n"
    group = analyze(JobLog(logged), 0).errors[0]
    assert group.module == "alpaka_serial_sync::HitProducer"


def test_it_reads_the_signal_from_valgrind() -> None:
    log = JobLog("well\n==79== Process terminating with default action of signal 11 (SIGSEGV)\n")
    assert reason_of(log, 139) == CrashReason(CrashKind.SIGNAL, "SIGSEGV", line=2)


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


CUTS = st.lists(st.integers(0, 10_000), min_size=4, max_size=4).map(sorted)


@given(st.sampled_from(CRASH_LOGS), CUTS)
@settings(max_examples=examples(1000))
def test_a_log_cut_anywhere_has_no_reason_of_another_kind(crash: CrashLog, cuts: list[int]) -> None:
    text = crash.variation(0)
    begin, end, tail_begin, tail_end = (len(text) * cut // 10_000 for cut in cuts)
    reason = reason_of(JobLog(text[begin:end], text[tail_begin:tail_end]), crash.exit_code)
    by_exit_code = reason_of(JobLog(), crash.exit_code)
    assert reason.kind in (crash.kind, CrashKind.EXCEPTION, by_exit_code.kind)


PIECES_OF_TRACES = (
    *("\n#1 0x2b6e in ", "\n#2 f", "\n", "f", "g", "::", " ", "(", ")", "<", ">", "{", "}", "x" * 100),
    *("<signal handler called>\n", "sig_pause_for_stacktrace ()\n", "Thread 2\n"),
)


@given(st.lists(st.sampled_from(PIECES_OF_TRACES), min_size=20, max_size=300).map("".join))
def test_it_takes_any_stack_trace(text: str) -> None:
    frames = crashed_frames(text, 0, len(text))
    assert len(frames) <= MAX_FRAMES
    assert all(len(frame.function) <= 160 and "\n" not in frame.function for frame in frames)
    assert len(function_name(text)) <= 160


@pytest.mark.parametrize("exit_code", [-15, -11, -8, -7, -6, -4, 65, 66, 70, 84, 85, 90])
def test_it_explains_the_crashes_of_the_simulator(exit_code: int) -> None:
    crash = Crash("csc", "CMSSW_12_4_8", 358_788, 120, "/fff/run1_ls0120.dat", "15-Sep-2022", exit_code)
    for seed in range(6):
        log = JobLog(tail="".join(last_lines(crash, random.Random(seed))))
        reason = reason_of(log, exit_code)
        assert reason.message
        assert reason.kind is not CrashKind.UNKNOWN
        assert reason.module_type in ("CSCMonitorModule", "DQMStreamerReader", "")
