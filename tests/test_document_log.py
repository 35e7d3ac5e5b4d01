"""The head and the tail of a job's log: whatever form they come in, in bounds and redacted."""

import json

import pytest

from dqm2.records import JobLog, JobRecord
from dqm2.series_parsers import MAX_LOG_CHARACTERS
from tests.sample_documents import JOB, changed, parsed

LINES = ["15-Sep-2022 13:07:36 CEST  Waiting\n", "collector dqm-prod-local.cms\n", "cut off"]
TEXT = "15-Sep-2022 13:07:36 CEST  Waiting\ncollector [host]\ncut off"


def _log(head: object, tail: object) -> JobLog:
    document = changed(changed(JOB, "extra.stdlog_start", head), "extra.stdlog_end", tail)
    record = parsed(document).record
    assert isinstance(record, JobRecord)
    return record.log


@pytest.mark.parametrize(
    "value", [LINES, "".join(LINES), json.dumps(LINES), [line.rstrip("\n") for line in LINES]]
)
def test_it_takes_lines_a_text_and_a_list_in_a_text(value: object) -> None:
    assert _log(value, value) == JobLog(TEXT, TEXT, redactions=2)


@pytest.mark.parametrize("value", ["[not JSON\n", '[1, "x"]', "[" * 100_000, '["\\ud800"', "[]x"])
def test_it_takes_a_text_that_only_looks_like_a_list(value: str) -> None:
    assert _log(value, None) == JobLog(value, "", redactions=0)


def test_it_leaves_out_lines_that_are_no_text() -> None:
    assert _log(["a\n", 1, {"environ": "x"}, "b\n"], None).head == "a\nb\n"


def test_it_redacts_over_lines() -> None:
    block = ["-----BEGIN PRIVATE KEY-----\n", "MIIEvQIBADANBgkq\n", "-----END PRIVATE KEY-----\n"]
    assert _log(["before\n", *block, "after\n"], None).head == "before\n[key]\nafter\n"


def test_it_redacts_a_tail_that_begins_within_a_key() -> None:
    tail = [f"{'A' * 20}\n", f"{'B' * 64}\n", "QUI=\n", "-----END PRIVATE KEY-----\n", "after\n"]
    assert _log(None, tail).tail == "[key]\nafter\n"


def test_it_cuts_at_line_ends() -> None:
    line = "a line of twenty-four c\n"
    lines = [f"first\n{line}", *[line] * (MAX_LOG_CHARACTERS // len(line)), "last\n"]
    log = _log(lines, lines)
    assert MAX_LOG_CHARACTERS - len(line) < len(log.head) <= MAX_LOG_CHARACTERS
    assert MAX_LOG_CHARACTERS - len(line) < len(log.tail) <= MAX_LOG_CHARACTERS
    assert log.head.startswith("first\na line")
    assert log.head.endswith("\n")
    assert log.tail.startswith("a line")
    assert log.tail.endswith("c\nlast\n")


def test_it_keeps_the_lines_around_a_very_long_one() -> None:
    lines = ["first\n", f"password={'a' * 1_000_000}\n", "Segmentation fault (core dumped)\n"]
    document = changed(changed(JOB, "extra.stdlog_start", lines), "extra.stdlog_end", lines)
    taken = parsed(document)
    assert isinstance(taken.record, JobRecord)
    text = "first\n[omitted]\nSegmentation fault (core dumped)\n"
    assert taken.record.log == JobLog(text, text)
    assert taken.dropped_fields == ("extra.stdlog_start", "extra.stdlog_end")


def test_a_carriage_return_ends_a_line() -> None:
    head = ["copied 1%\rcopied 100%\rError: no space\r\n", "5\r10.176.60.12 refused\n"]
    assert _log(head, None).head == "copied 1%\ncopied 100%\nError: no space\n5\n[ip] refused\n"


def test_it_cuts_no_line_in_two() -> None:
    endless = "password=" + "a" * MAX_LOG_CHARACTERS
    document = changed(changed(JOB, "extra.stdlog_start", [endless]), "extra.stdlog_end", [endless])
    taken = parsed(document)
    assert isinstance(taken.record, JobRecord)
    assert taken.record.log == JobLog()
    assert taken.dropped_fields == ("extra.stdlog_start", "extra.stdlog_end")
