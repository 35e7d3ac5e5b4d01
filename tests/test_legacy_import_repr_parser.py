"""The parser of `repr` texts accepts what Python wrote, and nothing else."""

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_import import repr_parser

NUMBERS = st.one_of(st.integers(-1, 2**40), st.floats(0, 2e9, allow_nan=False))
STREAMS = st.dictionaries(
    st.from_regex(r"stream[A-Za-z]{1,20}_sm-c2a11-4[0-9]-01", fullmatch=True),
    st.dictionaries(st.sampled_from(["lumis", "mtimes", "fsize"]), st.lists(NUMBERS, max_size=5)),
    max_size=4,
)


LINES = st.one_of(st.text(), st.text("\\n'\"\n", max_size=6))


@given(st.lists(LINES, max_size=20))
def test_it_parses_any_log(lines: list[str]) -> None:
    ended = [line if line.endswith("\n") else f"{line}\n" for line in lines[:-1]]
    assert repr_parser.parse_log(repr(lines)) == "".join((*ended, *lines[-1:]))


@given(STREAMS)
def test_it_parses_the_streams_of_any_run(streams: dict[str, Any]) -> None:
    assert repr_parser.parse_streams(repr(streams)) == ast.literal_eval(repr(streams))


def test_it_replaces_nan_and_inf_by_none() -> None:
    assert repr_parser.parse_streams("{'a_inf': [nan, inf, -inf, None, 1.5]}") == {
        "a_inf": [None, None, None, None, 1.5]
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "['a'",
        "['a' 'b']",
        "['a', 1]",
        ", ['a']",
        ", 'a']",
        "['a']['b']",
        "[b'a']",
        "['a\nb']",
        "['\\x4']",
        "['\\ud8']",
        "__import__('os').system('true')",
        "['a'.upper()]",
        "[" * 100_000,
        "['" + "\\" * 100_001,
        "['a', " * 100_000,
    ],
)
def test_it_rejects_other_texts_as_logs(text: str) -> None:
    assert repr_parser.parse_log(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "{'a': [1, 2}", "{'a': 1,}", "{'a': __import__('os')}", "[" * 100_000, "{'a\\'b': 1}", "'" * 99_999],
)
def test_it_rejects_other_texts_as_streams(text: str) -> None:
    assert repr_parser.parse_streams(text) is None
