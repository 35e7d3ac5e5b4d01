"""The description of `/api/v1/` is that of its types; the examples in it are responses, with other times."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Settings
from tests.api_v1_data import paths, write_sample
from tools import api_description
from web.api_v1 import openapi, views

EXAMPLES = Path(__file__).resolve().parent.parent / "web/api_v1/examples.json"
# The time at which the examples were asked for.
NOW = datetime(2026, 11, 20, 11, 0, tzinfo=UTC)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


def shifted(text: str, by: timedelta) -> str:
    """A text with all its times moved."""
    return TIME.sub(lambda found: _format(datetime.fromisoformat(found[0]) + by), text)


def _format(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """A minute, which is the time for the API."""
    at = datetime.now(UTC).replace(second=0, microsecond=0)

    clock = Mock(wraps=datetime)
    clock.now.return_value = at
    monkeypatch.setattr(views, "datetime", clock)
    return at


@pytest.fixture
def responses(settings: Settings, client: FlaskClient, now: datetime) -> Mapping[str, Any]:
    """The request and the response of each operation, as in the file of examples."""
    write_sample(settings, now)
    found = {}
    for operation, path in paths().items():
        response = client.get(f"/api/v1{path}")
        assert response.status_code == 200, response.text
        body = shifted(response.text, NOW - now) if response.is_json else response.text
        found[operation] = {"path": path, "response": json.loads(body) if response.is_json else body}
    return found


def test_they_are_responses(responses: Mapping[str, Any], tmp_path: Path) -> None:
    actual = tmp_path / EXAMPLES.name
    actual.write_text(json.dumps(responses, indent=1, ensure_ascii=False) + "\n")
    assert json.loads(EXAMPLES.read_text()) == responses, f"if that is intended: cp {actual} {EXAMPLES}"


def test_the_description_is_that_of_operations_and_types() -> None:
    is_current = openapi.PATH.read_text() == api_description.text()
    assert is_current, "if that is intended: python -m tools.api_description"
