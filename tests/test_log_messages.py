"""The lines of a job's log: numbered, with the errors and warnings of all who write to it marked."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.crash_corpus import CRASH_LOGS, CrashLog
from dqm2 import log_messages
from dqm2.log_formats import RULES, Found, MessageKind, Place, Severity
from dqm2.log_messages import (
    GAP,
    MAX_GROUPS,
    error_groups,
    find_messages,
    full_text,
    log_lines,
)
from dqm2.records import ErrorGroup, JobLog
from simulator.crash_log import fatal_signal
from tests.examples import core_of

WARNING = "%MSG-w Pixel:  PixelDQM 15-Sep-2022 13:45:40 CEST\nhot module\n%MSG\n"
ERROR = "%MSG-e Pixel:  PixelDQM 15-Sep-2022 13:45:40 CEST\nlost module\n%MSG\n"
INFO = "%MSG-i Pixel:  PixelDQM 15-Sep-2022 13:45:40 CEST\na warning in words\nError: of no interest\n%MSG\n"
FATAL = "----- Begin Fatal Exception 15-Sep-2022-----\nwhy\n----- End Fatal Exception ---\n"

ERROR_LINES = (
    "09/15/22 11:07:39 [140082164709184] ERROR system.dimerror %% - DIM message: Connection refused",
    "09/15/22 11:07:39 [140081346115328] FATAL system.dimerror %% - DIM message: Server already declared",
    "2022-09-15 13:07:39,123 [0x7f0001] ERROR dip.client <> - no publication",
    "2022-09-15 13:08:06.438 DQMNet[41562]: ERROR: source connection lost",
    "15 Sep 2022 13:07:39.123 [140] ERROR dqm.p:50000.app <> - cannot connect",
    "[2022-09-15 13:07:39,123] CRITICAL: out of disk",
    "15-Sep-2022 13:07:36 CEST  ERROR reading the calibration",
    "DD4hep           ERROR ++ unknown detector",
    "[ERROR] cannot connect",
    "ERROR: no such histogram",
    "cmsRun: src/A/src/B.cc:350: void a::b(): Assertion `c > 0' failed.",
    "Segmentation fault (core dumped)",
    "Segmentation fault",
    "Aborted",
    "Aborted (core dumped)",
    "./run.sh: line 19: 1589014 Segmentation fault      (core dumped) cmsRun cfg.py",
    "timeout: the monitored command dumped core",
    'Thread 1 "cmsRun" received signal SIGSEGV, Segmentation fault.',
    "A fatal system signal has occurred: segmentation violation",
    "Fatal system signal has occurred during exit",
    " *** Break *** segmentation violation",
    "Module: CSCMonitorModule:dqmCSCClient (crashed)",
    "Module: none (crashed)",
    "An exception of category 'InvalidReference' occurred while",
    "terminate called after throwing an instance of 'std::runtime_error'",
    "terminate called without an active exception",
    "cudaErrorIllegalAddress: an illegal memory access was encountered",
    "/b/EventUniformCudaHipRt.hpp(66) 'TApi::eventDestroy(e)' returned error  : 'cudaErrorUnknown': 'x'!",
    "2024-04-18 10:55:31.554180: E tensorflow/stream_executor/cuda/cuda_driver.cc:271] failed call to cuInit",
    "error [fn-urlparse.c:59]: config error: bad url [ip]",
    "Request 8 on chan 1 failed at Wed Feb 18 22:07:12 2026: -8 [fn-htclient.c:444]: server error",
    "CORAL/RelationalPlugins/oracle Error ORA-28001: the password has expired (authenticating)",
    'Connection on "oracle" cannot be established ( CORAL : "ConnectionPool" from "CORAL/Services" )',
    "ORA-12541: TNS:no listener",
    "Error in <TNetXNGFile::Open>: [ERROR] Server responded with an error: [3011] no such file",
    "SysError in <TFile::TFile>: file x.root can not be opened",
    "Fatal in <TROOT>: out of luck",
    "[2024-12-02 12:56:58.656880 +0000][Error  ][XRootD            ] [host] Unable to get the response",
    "ValueError: could not convert string to float",
    "cx_Oracle.DatabaseError: ORA-12545: Connect failed",
    "double free or corruption (!prev)",
    "*** stack smashing detected ***: terminated",
    "==1234== Process terminating with default action of signal 6 (SIGABRT)",
    "ERROR cannot open file 12",
    "ERROR 2024-02-18 17:48:21.793 UTC: \t Caught an exception",
    "PID 4321 - Wed Sep 15 13:00:00 2024 - (ERROR) No connection to the name server",
    "PID 4321 - Wed Sep 15 13:00:00 2024 - (FATAL) Service X is declared twice",
    "log4cplus:ERROR could not open file x.log",
    "input_line_12:3:1: error: unknown name 'x'",
    "2024-04-05 12:00:00.123456: F external/xla/service/x.cc:12] Check failed: a == b",
    "cp: cannot create regular file 'x': No space left on device",
    "ERROR: 12 channels are missing",
    "Error: 2 of 3 files are missing",
    "==1234==ERROR: AddressSanitizer: heap-use-after-free on address 0x6020",
    "src/x.cc:12:3: runtime error: signed integer overflow",
    "slurmstepd: error: Detected 1 oom-kill event(s)",
    "cmsRun: error while loading shared libraries: libX.so: cannot open shared object file",
    "bash: cmsRun: command not found",
    "cmsRun: Error while trying to process command line arguments:",
    "cmsRun: /lib64/libstdc++.so.6: version `GLIBCXX_3.4.29' not found (required by cmsRun)",
    "/bin/sh: 1: cmsRun: not found",
    "/usr/bin/env: 'python3': No such file or directory",
    "F1129 13:52:17.123456 12345 foo.cc:12] Check failed: x == y (1 vs. 2)",
    "Memory cgroup out of memory: Killed process 43 (cmsRun)",
    "free(): double free detected in tcache 2",
    "src/tcmalloc.cc:283] Attempt to free invalid pointer 0x7f2b8d2e7777",
    "-- process exit: -11 --",
    "-- process exit: 70 --",
)
WARNING_LINES = (
    "2022-09-15 13:08:06.438 DQMNet[41562]: WARNING: source not responding in 0.5s to update",
    "DD4hep           WARN  ++ Using globally Geant4 unit system (mm,ns,MeV)",
    "Warning in <TClass::Init>: no dictionary for class x is available",
    "[2023-07-12 20:12:16.842466 +0200][Warning][XRootD            ] Retrying",
    "/x/sqlalchemy/engine/default.py:408: SAWarning: Exception attempting to detect unicode returns",
    "DeprecationWarning: the imp module is deprecated",
    "warn [fn-htclient.c:418]: Trying next proxy",
    "WARNING: In non-interactive mode release checks are disabled.",
    "Warning: libX.so is deprecated",
    "[WARNING] no reference file",
    "PID 4321 - Wed Sep 15 13:00:00 2024 - (WARNING) A client was slow",
)
NORMAL_LINES = (
    "-- process exit: 0 --",
    "15-Sep-2022 13:45:45 CEST  Writing DQM Root file: ./upload/DQM_V0001.root",
    "Warning                98                  98",
    "Error                2352                2352",
    "System                  2                   2",
    "Error   2352   2352",
    "    2 TooManyErrors        -e SiStripRawToDigi                   1176    1176",
    "Total number of errors = 3",
    " Total Number of Detectors with Error : 5",
    "TrigReport  Trig Bit#    Visited     Passed     Failed      Error Name",
    "there were 3 errors and 12 warnings in 5 files",
    "0 errors, 0 warnings",
    "L1T ERROR RATE: 0",
    "Error: 0",
    "Warning: 12",
    "ERROR = 0",
    "ErrorSummary: booked 12 histograms",
    "module SiPixelRawDataErrorSource:siPixelErrors constructed",
    "Found and loaded json file: /fff/BU0/run1_ls0001_streamDQMError.jsn",
    "    endOfRunKills = cms.untracked.bool(True),",
    "EcalErrorMonitor/ErrorsByFED filled",
    "FATAL             0            0",
    "Assertion checks are off",
    "error bits 0x0 of FED 12",
    "FATAL count 0",
    "ERROR messages: 12",
    "CUDA error count: 0",
    "waited for cudaErrorNotReady",
    "Killed jobs: 0",
    "Error: none",
    "Error: 0 events",
    "Error: 12%",
    "[error] 0",
    "ERROR: 3 / 12",
    "CRITICAL: 0 MAJOR: 2",
    "ERROR: 3 WARNING: 2",
    "Warning: 0 events",
    "Aborted events: 3",
    "AddressSanitizer: no memory was freed twice",
    "histogram EB/x: not found",
    "16-Sep-2022  Attempt to open the file: No such file or directory",
    "16-Sep-2022  Timeout reached, skipping lumisection(s) 1 .. 141",
)


def marked(head: str, tail: str = "") -> list[tuple[int, Severity]]:
    log = JobLog(head, tail)
    return [(line.number, line.severity) for line in log_lines(log, find_messages(log)) if line.severity]


def errors(*numbers: int) -> list[tuple[int, Severity]]:
    return [(number, Severity.ERROR) for number in numbers]


def test_it_numbers_the_lines_of_head_and_tail() -> None:
    lines = log_lines(JobLog("a\nb\n", "y\nz\n"), [])
    expected = ["a", "b", "", GAP, "", "y", "z"]
    assert [(line.number, line.text) for line in lines] == list(enumerate(expected, start=1))


def test_it_has_no_lines_for_an_empty_log() -> None:
    assert log_lines(JobLog(), []) == []


@pytest.mark.parametrize(
    ("head", "tail", "text"),
    [
        ("a\nb\n", "a\nb\n", "a\nb\n"),
        ("a\nb\n", "a\nb\nc\nd\n", "a\nb\nc\nd\n"),
        ("a\nb\nc\nd\n", "b\nc\nd\ne\n", "a\nb\nc\nd\ne\n"),
        ("a\nb\nc\n", "b\nc\n", "a\nb\nc\n"),
        ("a\nb\n", "", "a\nb\n"),
        ("", "b\n", "b\n"),
        ("a\nxb\nc\nd\n", "b\nc\nd\n", f"a\nxb\nc\nd\n\n{GAP}\n\nb\nc\nd\n"),
    ],
)
def test_it_joins_head_and_tail_where_they_overlap(head: str, tail: str, text: str) -> None:
    assert full_text(JobLog(head, tail)) == text


def test_it_marks_all_lines_of_a_message() -> None:
    assert marked(WARNING) == [(number, Severity.WARNING) for number in (1, 2, 3)]
    assert marked(ERROR) == errors(1, 2, 3)
    assert marked(INFO) == []
    assert marked(FATAL) == errors(1, 2, 3)
    assert marked("Traceback (most recent call last):\n  x\nValueError: y\nwell\n") == errors(1, 2, 3)


def test_it_marks_errors_of_all_writers() -> None:
    first = {line: marked(f"well\n{line}\n\nwell\n")[:1] for line in ERROR_LINES}
    assert first == {line: errors(2) for line in ERROR_LINES}


def test_it_marks_warnings_of_all_writers() -> None:
    all_marked = {line: marked(f"well\n{line}\nwell\n") for line in WARNING_LINES}
    assert all_marked == {line: [(2, Severity.WARNING)] for line in WARNING_LINES}


def test_it_marks_no_normal_line() -> None:
    all_marked = {line: marked(f"well\n{line}\nwell\n") for line in NORMAL_LINES}
    assert all_marked == {line: [] for line in NORMAL_LINES}


def test_it_ends_a_message_at_the_gap() -> None:
    assert marked("x\n%MSG-e Pixel:  cut off\nlost", "well\nagain\n") == errors(2, 3)


def test_it_ends_a_message_at_the_next_and_at_a_crash() -> None:
    assert marked("%MSG-i A:  B:c\nx\n%MSG-e A:  B:c\ny\n%MSG\nwell\n") == errors(3, 4, 5)
    log = "%MSG-i A:  B:c\nx\nA fatal system signal has occurred: bus error\nwell\n"
    assert marked(log) == errors(3)


def test_it_groups_errors_by_category_and_module() -> None:
    error = "%MSG-e TooManyErrors:  SiStripRawToDigiModule:siStripDigis  {} Run: 1 Event: 2\nx\n%MSG\n"
    other = "%MSG-e TrackRefitter:  (NoModuleName) 15-Sep-2022 13:45:40 CEST\nx\n%MSG\n"
    head = other + "".join(error.format(f"{day}-Sep-2022 13:45:40 CEST") for day in range(1, 10))
    assert error_groups(find_messages(JobLog(head, "Error in <TFile::Open>: x\n"))) == (
        ErrorGroup("TooManyErrors", "SiStripRawToDigiModule", 9, line=4),
        ErrorGroup("TrackRefitter", "", 1, line=1),
        ErrorGroup("TFile::Open", "", 1, line=34),
    )


@pytest.mark.parametrize("name", ["segmentation violation", "abort signal", "bus error"])
def test_it_counts_a_signal_once(name: str) -> None:
    messages = find_messages(JobLog("", fatal_signal(name, "#5  0x0 in A::f() ()\n", "A:a")))
    assert [message.kind for message in messages] == [
        MessageKind.SIGNAL,
        MessageKind.CRASHED_MODULE,
        MessageKind.SIGNAL,
    ]
    assert error_groups(messages) == (
        ErrorGroup(name, "", 1, messages[0].line),
        ErrorGroup("crashed module", "A", 1, messages[1].line),
    )


def test_it_bounds_groups_and_their_names() -> None:
    head = "".join(f"%MSG-e C{n}{'x' * 150}:  M:m 15-Sep\nx\n%MSG\n" for n in range(MAX_GROUPS + 5))
    groups = error_groups(find_messages(JobLog(head)))
    assert len(groups) == MAX_GROUPS
    assert all(len(group.category) <= 100 for group in groups)


PIECES = st.one_of(
    st.sampled_from(
        [
            *RULES,
            *ERROR_LINES,
            *WARNING_LINES,
            WARNING,
            ERROR,
            INFO,
            FATAL,
            "%MSG",
            "%MSG-e",
            "\n",
            "\n#1 ",
            " ",
        ]
    ),
    st.text(max_size=30),
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@given(TEXTS, TEXTS)
def test_it_takes_any_text(head: str, tail: str) -> None:
    check_places(JobLog(head, tail))


def check_places(log: JobLog) -> None:
    """Check that the messages of a log are in order, without overlaps, and in lines that exist."""
    messages = find_messages(log)
    lines = log_lines(log, messages)
    numbers = [(message.line, message.last_line) for message in messages]
    assert all(1 <= first <= last <= len(lines) for first, last in numbers)
    assert all(above[1] < below[0] for above, below in pairwise(numbers))
    assert all(message.start < message.end <= len(message.part.text) for message in messages)


@given(st.sampled_from(CRASH_LOGS), st.integers(min_value=0), st.integers(min_value=0))
def test_it_takes_a_log_cut_anywhere(crash: CrashLog, start: int, end: int) -> None:
    text = crash.variation(0)
    cut = text[start % len(text) :]
    check_places(JobLog(cut[: end % len(text)], cut))


@pytest.mark.parametrize("size", core_of([12_500, 100_000], 12_500))
def test_it_judges_a_bounded_part_of_a_text(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = 0

    def counted(rule: Callable[[Place], Found | None]) -> Callable[[Place], Found | None]:
        def count(place: Place) -> Found | None:
            nonlocal judged
            judged += len(place.line)
            return rule(place)

        return count

    rules = {literal: tuple(map(counted, of_literal)) for literal, of_literal in RULES.items()}
    monkeypatch.setattr(log_messages, "RULES", rules)
    for unit in (*RULES, "ERROR ", "ERROR x\n", *(f"{line}\n" for line in ERROR_LINES)):
        judged = 0
        text = unit * (size // len(unit))
        find_messages(JobLog(text))
        # Up to 8 literals of a line, with up to 6 rules each.
        assert judged <= 48 * len(text) + 400_000, unit
