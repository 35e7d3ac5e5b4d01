"""Responses with headers are read in order; invalid entries are counted."""

import json
from typing import Any

import pytest

from dqm2.sync_messages import parse_headers


def answer(*revisions: Any) -> bytes:
    """An answer with headers of these revisions, a message each."""
    headers = [{"_id": str(number), "_rev": revision} for number, revision in enumerate(revisions)]
    messages = [json.dumps({"event": "update_headers", "headers": [header]}) for header in headers]
    return json.dumps({"messages": messages}).encode()


def test_it_brings_headers_into_the_order_of_their_revisions() -> None:
    headers = parse_headers(answer(3, "1", 2)).headers
    assert [(header.revision, header.id) for header in headers] == [(1, "1"), (2, "2"), (3, "0")]


@pytest.mark.parametrize("revision", [None, True, -1, "-1", 1.5, "1.5", "x", "١", 2**63, "9" * 19, [1]])
def test_it_counts_a_header_whose_revision_can_be_none(revision: object) -> None:
    found = parse_headers(answer(1, revision, 2))
    assert [header.revision for header in found.headers] == [1, 2]
    assert found.missing_or_invalid == 1
