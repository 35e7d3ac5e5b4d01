"""Signatures of crashes: equal for crashes of one cause, whatever varies from run to run."""

from dataclasses import replace

import pytest

from benchmarks.crash_groups import measure
from dqm2.crash_signatures import sign
from dqm2.records import CrashKind, CrashReason, StackFrame

REASON = CrashReason(
    CrashKind.EXCEPTION,
    "CorruptedData",
    "Requested noise for 640 strips of /fff/run358788/x.dat at 0x7f00, I have it only for 512 strips",
    "SiStripZeroSuppression",
    "hltSiStripZeroSuppression",
    line=12,
)
SEGFAULT = CrashReason(
    CrashKind.SIGNAL,
    "SIGSEGV",
    "Segmentation violation",
    "CSCMonitorModule",
    frames=(StackFrame("std::a<int>::f", "a.so"), StackFrame("CSC::fill", "b.so")),
    line=3,
)


def key(reason: CrashReason | None, exit_code: int = 65, client: str = "csc") -> str:
    return sign(client, exit_code, reason).key


def test_it_groups_crashes_of_real_formats_well() -> None:
    quality = measure()
    assert min(quality.precision, quality.recall) >= 0.95


@pytest.mark.parametrize(
    "same",
    [
        replace(REASON, line=99),
        replace(REASON, module_label="siStripZeroSuppression"),
        replace(
            REASON,
            message="Requested noise for 1 strips of /x/run9/y.dat at 0xabc1, I have it only for 0 strips",
        ),
    ],
)
def test_it_ignores_what_varies(same: CrashReason) -> None:
    assert key(same) == key(REASON)
    assert key(same, exit_code=8001) == key(REASON)


@pytest.mark.parametrize(
    "message",
    [
        "Failed to open the file '/fff/ramdisk/run{run}/run{run}_ls{ls:04d}_streamDQM_sm-c2a11-43-01.dat'",
        "Failed to open the file '/fff/ramdisk/run{run}/run{run}_ls{ls:04d}_streamDQM_",
        "Could not open run{run}_ls{ls:04d}_streamDQM_dqm.dat: error {ls}",
        'File "/fff/output/run{run}/run{run}_ls{ls:04d}_streamDQM_pid{ls:05d}.jsn" is truncated at byte {ls}',
        "Run {run} LS{ls} is not in [fu-c2f11-13-0{unit}]:/fff/output/run{run}/.run{run}_ls{ls:04d}_EoR.jsn",
    ],
)
def test_it_ignores_runs_lumisections_and_paths(message: str) -> None:
    numbers = (358_791, 12, 1), (398_972, 1, 3), (412_345, 4567, 4)
    texts = [message.format(run=run, ls=ls, unit=unit) for run, ls, unit in numbers]
    assert len({key(replace(REASON, category="FileOpenError", message=text)) for text in texts}) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(REASON, category="InvalidReference"),
        replace(REASON, module_type="SiStripClusterizer"),
        replace(REASON, kind=CrashKind.DATABASE),
        replace(REASON, message="Requested gain for 640 strips"),
        None,
    ],
)
def test_it_tells_causes_apart(other: CrashReason | None) -> None:
    assert key(other) != key(REASON)
    assert key(REASON, client="dt") != key(REASON)


def test_it_tells_signals_apart_by_functions() -> None:
    templated = replace(SEGFAULT, frames=(StackFrame("std::a<long>::f.cold", "c.so"), SEGFAULT.frames[1]))
    assert key(templated) == key(SEGFAULT)
    elsewhere = replace(SEGFAULT, frames=(StackFrame("CSC::book", "b.so"),))
    assert key(elsewhere) != key(SEGFAULT)


def test_it_takes_the_exit_code_without_a_log() -> None:
    assert key(None, -9) == key(CrashReason(CrashKind.KILLED, "SIGKILL"), -9) == key(None, 137)
    assert key(None, -9) != key(None, -11)
    assert sign("csc", 70, None).title == "csc: CMSSW error 8006: a data product was not found"


def test_it_has_a_title() -> None:
    assert sign("csc", 65, REASON).title.startswith(
        "csc: CorruptedData in SiStripZeroSuppression: Requested noise for 640 strips"
    )
    assert sign("csc", -11, SEGFAULT).title == "csc: SIGSEGV in CSCMonitorModule"


@pytest.mark.parametrize(
    ("message", "general"),
    [
        ("Failed to open the file '/fff/ramdisk/run358788_ls0001.dat'", "Failed to open the file …"),
        (
            "array::at: __n (which is 6) >= _Nm (which is 6)",
            "array::at: __n (which is …) >= _Nm (which is …)",
        ),
        ("Assertion `ieta <= 85' failed in MEEBGeom.cc:505", "Assertion `ieta <= 85' failed"),
        ("no more of run 1, run 2, 3, 4 and 0x5f", "no more of run …, run … and …"),
        (" ".join(["ab"] * 13), " ".join(["ab"] * 12 + ["…"])),
    ],
)
def test_its_general_title_has_no_more_of_a_message_than_its_key(message: str, general: str) -> None:
    signature = sign("csc", 65, replace(REASON, message=message))
    assert signature.general_title == f"csc: CorruptedData in SiStripZeroSuppression: {general}"
