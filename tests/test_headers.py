"""Responses with headers are read in order; invalid entries are counted."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from dqm2.errors import Dqm2InvalidResponse, Dqm2ResponseTooLarge
from dqm2.headers import INVALID_TYPE, parse_headers


def answer(*revisions: Any) -> bytes:
    """An answer with headers of these revisions, a message each."""
    return answer_of({"_id": str(number), "_rev": revision} for number, revision in enumerate(revisions))


def answer_of(headers: Iterable[dict[str, Any]]) -> bytes:
    """An answer with headers, a message each."""
    messages = [json.dumps({"event": "update_headers", "headers": [header]}) for header in headers]
    return json.dumps({"messages": messages}).encode()


def test_it_brings_headers_into_the_order_of_their_revisions() -> None:
    headers = parse_headers([answer(3, "1", 2)]).headers
    assert [(header.revision, header.id) for header in headers] == [(1, "1"), (2, "2"), (3, "0")]


@pytest.mark.parametrize("revision", [None, True, -1, "-1", 1.5, "1.5", "x", "١", 2**63, "9" * 19, [1]])
def test_it_counts_a_header_whose_revision_can_be_none(revision: object) -> None:
    found = parse_headers([answer(1, revision, 2)])
    assert [header.revision for header in found.headers] == [1, 2]
    assert found.missing_or_invalid == 1


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_it_reads_headers_in_whatever_pieces_they_arrive(size: int) -> None:
    body = answer(*range(1, 20))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert parse_headers(pieces) == parse_headers([body])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (answer(1, 2)[:-1], "not JSON"),
        (answer(1, 2) + b"}", "not JSON"),
        (b'{"messages": ["\xff"]}', "not JSON"),
        (b"[]", "more than a list"),
        (b'"messages"', "no list of messages"),
        (b'{"messages": null}', "no list of messages"),
        (b'{"messages": {"0": "x"}}', "more than a list"),
        (b'{"messages": [1]}', "not a text"),
        (b'{"messages": [{"event": "update_headers"}]}', "not a text"),
        (b'{"messages": ["[]"]}', "not an update_headers"),
        (b'{"other": ' + b"[" * 100_000, "more than a list"),
    ],
)
def test_it_refuses_another_response_than_one_of_headers(body: bytes, error: str) -> None:
    with pytest.raises(Dqm2InvalidResponse, match=error):
        parse_headers([body])


def test_it_reads_no_more_headers_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dqm2.headers.MAX_HEADERS", 3)
    assert len(parse_headers([answer(1, 2, 3)]).headers) == 3
    pieces = iter([answer(1, 2, 3, 4)[:-2], b"the rest is not even read"])
    with pytest.raises(Dqm2ResponseTooLarge, match="more than 3 headers"):
        parse_headers(pieces)
    assert next(pieces)


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600"])
def test_it_keeps_no_long_id_or_type_in_memory(character: str) -> None:
    long, short = character * 1000, character * 50
    found = parse_headers([answer_of({"_id": id_, "_rev": 1, "type": long} for id_ in (long, short))])
    assert [(header.id, header.type) for header in found.headers] == [(short, INVALID_TYPE)]
    assert found.missing_or_invalid == 1


def test_it_waits_for_no_end_of_a_message_that_is_too_long() -> None:
    pieces = iter([b'{"messages": ["', *[b"x" * 64_000] * 100])
    with pytest.raises(Dqm2ResponseTooLarge, match="a message is longer"):
        parse_headers(pieces)
    assert next(pieces)
