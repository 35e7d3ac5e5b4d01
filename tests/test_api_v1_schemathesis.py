"""`/api/v1/` answers whatever its description allows, and refuses the rest, as the description says.

Schemathesis makes the requests from the description: valid and invalid ones, and valid ones for what exists.
Only these tests import it: that takes half a second, which each worker of a test run would spend.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings

from dqmsquare_cfg import Settings
from server import create_app
from tests.api_v1_data import CRASHED_JOB, RUN, signature, write_sample
from tests.examples import core_of, long
from web.api_v1.operations import operations

if TYPE_CHECKING:
    from schemathesis.specs.openapi.schemas import OpenApiSchema

FEW, MANY = 3, 400
EXISTING = {"cluster": "production", "run": RUN, "job": str(CRASHED_JOB), "signature": signature()}


@pytest.fixture(scope="module")
def app(shared_settings: Settings) -> Flask:
    """The application with the sample data of the API."""
    write_sample(shared_settings, datetime.now(UTC))
    return create_app(shared_settings)


@pytest.fixture(scope="module")
def schema(app: Flask) -> "OpenApiSchema":
    """The schema of the API."""
    import schemathesis

    return schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)


def check_requests(
    schema: "OpenApiSchema", operation_id: str, examples: int, *, are_valid: bool = True, **overrides: Any
) -> None:
    from schemathesis.generation.modes import GenerationMode

    operation = schema.find_operation_by_id(operation_id)
    mode = GenerationMode.POSITIVE if are_valid else GenerationMode.NEGATIVE

    @hypothesis_settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(mode, **overrides))
    def check(case: Any) -> None:
        # The client for WSGI neither escapes a question mark, with which a query begins, nor decompresses.
        assume("?" not in repr(case.path_parameters))
        case.call_and_validate(headers={"Accept-Encoding": "identity"})

    check()


@pytest.fixture(params=[FEW, long(MANY)])
def number(request: pytest.FixtureRequest) -> int:
    """The number of requests per operation and kind."""
    number: int = request.param
    return number


@pytest.mark.parametrize("operation_id", operations())
def test_it_answers_valid_requests(schema: "OpenApiSchema", operation_id: str, number: int) -> None:
    check_requests(schema, operation_id, number)


@pytest.mark.parametrize("operation_id", operations())
def test_it_answers_requests_for_what_exists(schema: "OpenApiSchema", operation_id: str, number: int) -> None:
    path = {name: EXISTING[name] for name in operations()[operation_id].variables}
    check_requests(schema, operation_id, number, path_parameters=path)


@pytest.mark.parametrize(
    "operation_id",
    core_of([found.id for found in operations().values() if found.variables], "runs", "job", "transitions"),
)
def test_it_refuses_invalid_requests(schema: "OpenApiSchema", operation_id: str, number: int) -> None:
    check_requests(schema, operation_id, number, are_valid=False)
