"""The lines of a job's log: numbered, with the warnings and errors of CMSSW marked."""

from dqm2.records import JobLog
from web.job_log import GAP, Severity, first_lines, log_lines

WARNING = "%MSG-w Pixel:  PixelDQM 15-Sep-2022 13:45:40 CEST\nhot module\n%MSG\n"
ERROR = "%MSG-e Pixel:  PixelDQM 15-Sep-2022 13:45:40 CEST\nlost module\n%MSG\n"
INFO = "%MSG-i Pixel:  PixelDQM 15-Sep-2022 13:45:40 CEST\na warning in words\n%MSG\n"
FATAL = "----- Begin Fatal Exception 15-Sep-2022-----\nwhy\n----- End Fatal Exception ---\n"


def marked(head: str, tail: str = "") -> list[tuple[int, Severity]]:
    lines = log_lines(JobLog(head, tail))
    return [(line.number, line.severity) for line in lines if line.severity]


def test_it_numbers_the_lines_of_head_and_tail() -> None:
    lines = log_lines(JobLog("a\nb\n", "y\nz\n"))
    assert [(line.number, line.text) for line in lines] == list(
        enumerate(["a", "b", "", GAP, "", "y", "z"], start=1)
    )


def test_it_has_no_lines_for_an_empty_log() -> None:
    assert log_lines(JobLog()) == []


def test_it_marks_all_lines_of_a_message() -> None:
    assert marked(WARNING) == [(1, Severity.WARNING), (2, Severity.WARNING), (3, Severity.WARNING)]
    assert marked(ERROR) == [(1, Severity.ERROR), (2, Severity.ERROR), (3, Severity.ERROR)]
    assert marked(INFO) == []


def test_it_marks_the_messages_of_a_crash() -> None:
    assert marked(FATAL) == [(1, Severity.ERROR), (2, Severity.ERROR), (3, Severity.ERROR)]
    assert marked("A fatal system signal has occurred: segmentation violation\n") == [(1, Severity.ERROR)]
    assert marked("Traceback (most recent call last):\n  x\nValueError: y\n") == [
        (1, Severity.ERROR),
        (3, Severity.ERROR),
    ]
    assert marked("-- process exit: -11 --\n") == [(1, Severity.ERROR)]


def test_it_marks_no_normal_line() -> None:
    assert marked("-- process exit: 0 --\n") == []
    assert marked("15-Sep-2022 13:45:45 CEST  Writing DQM Root file: ./upload/DQM_V0001.root\n") == []
    assert marked("Warning                98                  98\n") == []


def test_it_ends_a_message_at_the_gap() -> None:
    assert marked("x\n%MSG-e Pixel:  cut off\nlost", "well\nagain\n") == [
        (2, Severity.ERROR),
        (3, Severity.ERROR),
    ]


def test_it_finds_the_first_line_of_each_block() -> None:
    lines = log_lines(JobLog(WARNING + "quiet\n" + WARNING + ERROR))
    assert [line.number for line in first_lines(lines, Severity.WARNING)] == [1, 5]
    assert [line.number for line in first_lines(lines, Severity.ERROR)] == [8]
