"""docs/data-policy.md says field by field what leaves P5, as the program has it."""

from dataclasses import fields
from pathlib import Path

import pytest

from dqm2.allowlist import FIELDS_BY_RECORD, CommonFields, fields_of, markdown_table

POLICY = Path(__file__).parent.parent / "docs" / "data-policy.md"


def test_it_shows_the_table_of_the_program() -> None:
    _, _, behind = POLICY.read_text().partition("<!-- fields -->\n")
    table, end, _ = behind.partition("<!-- /fields -->")
    assert end
    assert table == markdown_table(), "regenerate it: python -m dqm2.allowlist"


@pytest.mark.parametrize("record", FIELDS_BY_RECORD, ids=lambda record: str(record.__name__))
def test_it_names_where_each_field_of_a_record_comes_from(record: type) -> None:
    documented = {
        name
        for table in (CommonFields, FIELDS_BY_RECORD[record])
        for field in fields_of(table)
        for name in field.record_fields
    }
    assert {field.name for field in fields(record)} <= documented
