"""Templates of log lines, by which logs are searched: the same for lines that differ in what varies."""

import pytest

from dqm2.log_templates import MAX_TEMPLATES, parse_query, templates
from dqm2.records import CrashKind, CrashReason, ErrorGroup, JobLog

SAME_LINE = (
    (
        "Begin processing the 63rd record. Run 398972, Event 4825, LumiSection 7 on stream 0 at 01-May-2025",
        "Begin processing the 9th record. Run 398973, Event 1, LumiSection 9 on stream 3 at 28-Nov-2025",
    ),
    (
        "15-Sep-2022 13:45:41 CEST  EoR file found: /a/run358788",
        "16-Jan-2025 01:00:00 CET  EoR file found: /a/run9",
    ),
    (
        "#3  0x00007f3a5c1b2e40 in abort () from libc.so.6",
        "#12  0x00007ffdeadbeef0 in abort () from libc.so.6",
    ),
    ("module hash a3f59c01b2e4 is unknown", "module hash 00f59c01b2ea7 is unknown"),
)


def ids(*lines: str) -> set[int]:
    return set(templates(JobLog(tail="\n".join(lines)), (), None))


@pytest.mark.parametrize("lines", SAME_LINE)
def test_it_leaves_out_what_varies(lines: tuple[str, str]) -> None:
    assert ids(lines[0]) == ids(lines[1])
    assert len(ids(lines[0])) == 1


def test_it_tells_sentences_apart() -> None:
    assert len(ids("no map for FED 134", "no data for FED 134", "no map for FED")) == 2


def test_it_tells_an_address_from_a_number() -> None:
    assert len(ids("page 0xfade", "page 1xfade", "page 2xfade")) == 2


def test_it_has_no_template_of_a_line_without_words() -> None:
    assert ids("", "----", "=== 12 ===", "\x00") == set()


def test_it_takes_the_errors_of_the_head_and_the_end_of_the_tail() -> None:
    words = [f"{first}{second}" for first in "abcdefghij" for second in "abcdefghij"]
    head = "\n".join(
        ["began", "exception of category ProductNotFound", "an error of the unpacker", *["idle"] * 20]
    )
    log = JobLog(head, "\n".join(f"line {word}" for word in words))
    crash = CrashReason(CrashKind.EXCEPTION, line=2)
    found = templates(log, [ErrorGroup("Unpacker", "", 1, 3)], crash)
    assert len(found) == MAX_TEMPLATES
    assert ("exception", "of", "category", "productnotfound") in found.values()
    assert ("an", "error", "of", "the", "unpacker") in found.values()
    assert ("line", "jj") in found.values()
    assert ("line", "aa") not in found.values()


@pytest.mark.parametrize(
    ("query", "line", "is_found"),
    [
        ("productnotfound", "An exception of category 'ProductNotFound' occurred", True),
        ("category product", "An exception of category 'ProductNotFound' occurred", True),
        ("NotFound", "An exception of category 'ProductNotFound' occurred", False),
        ("ORA-12170", "ORA-12170: TNS:Connect timeout occurred", True),
        ("ORA-12170", "ORA-12541: TNS:no listener", False),
        ("FED id 13", "NULL pointer to FEDRawData for FED id 134", False),
    ],
)
def test_it_finds_words_by_their_beginnings_and_whole_numbers(
    query: str, line: str, *, is_found: bool
) -> None:
    parsed = parse_query(query, with_numbers=True)
    assert parsed is not None
    assert parsed.matches(line) is is_found


@pytest.mark.parametrize("lines", SAME_LINE)
def test_it_finds_a_line_elsewhere_without_its_numbers(lines: tuple[str, str]) -> None:
    parsed = parse_query(lines[0], with_numbers=False)
    assert parsed is not None
    assert parsed.matches(lines[1])


@pytest.mark.parametrize("query", ["", " ", "12", "' & !", "0x7fffdeadbeef", "Sep", "a b"])
def test_it_has_no_query_without_a_word(query: str) -> None:
    assert parse_query(query, with_numbers=True) is None
