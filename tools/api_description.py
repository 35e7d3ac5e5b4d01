"""Description of `/api/v1/` in OpenAPI 3.1, made from its operations and types: `web/api_v1/openapi.json`.

    python -m tools.api_description    write it

msgspec makes the schemas, apispec assembles the document and resolves references to components. It is made
here and not by the server, which runs without docstrings (PYTHONOPTIMIZE).
"""

import json
from collections.abc import Iterator, Mapping
from inspect import cleandoc, getdoc
from typing import Annotated, Any
from uuid import UUID

import msgspec
from apispec import APISpec
from msgspec import Meta

from dqm2 import crash_signatures
from dqmsquare_cfg import Cluster
from web.api_v1 import views  # noqa: F401 - defines the operations
from web.api_v1.openapi import PATH
from web.api_v1.operations import JSON, Operation, operations
from web.api_v1.queries import Run
from web.problems import MEDIA_TYPE, Problem

_VERSION = "1"
_INTRODUCTION = (
    "Runs, jobs, machines and crashes of the online data quality monitoring (DQM) of CMS, as the DQM² Mirror"
    " shows them outside of the experiment's network. The API is read only. Fields are added to resources"
    " without notice; none is renamed or removed.\n\n"
    "Times are in UTC, sizes in bytes, durations in seconds; `null` is a value that is not known. Machines"
    " have labels, never names. A list that has a next page names it in `next_cursor`.\n\n"
    "A response has an `ETag`: a request that sends it back as `If-None-Match` is answered with status 304"
    " while nothing has changed. Errors are problem details (RFC 9457). A server that has too much to do, or"
    " whose database does not respond, answers with status 503 and `Retry-After`."
)
_PATH_PARAMETERS: Mapping[str, Any] = {
    "cluster": Annotated[Cluster, Meta(description="Name of the cluster.")],
    "run": Annotated[Run, Meta(description="Number of the run.")],
    "job": Annotated[UUID, Meta(description="Id of the job.")],
    "signature": Annotated[
        str, Meta(pattern=f"^{crash_signatures.SIGNATURE.pattern}$", description="Signature of the group.")
    ],
}
_REF = "#/components/schemas/{name}"
_RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
_ETAG = {"description": "Tag of the content, for `If-None-Match`.", "schema": {"type": "string"}}


def document() -> dict[str, Any]:
    """The description without what only the server knows, and without examples."""
    spec = APISpec(
        title="DQM² Mirror",
        version=_VERSION,
        openapi_version="3.1.0",
        info={"description": _INTRODUCTION},
    )
    of_results = [found.result for found in operations().values() if found.result is not str]
    queries = {found.query for found in operations().values()}
    types = [*dict.fromkeys(of_results), Problem, *_PATH_PARAMETERS.values(), *queries]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(types, schemas, strict=True))
    for name in sorted(components.keys() - {query.__name__ for query in queries}):
        spec.components.schema(name, _with_summary(components[name]))
    for status, name, description in _ERRORS:
        spec.components.response(name, _error(description, by_type[Problem], is_temporary=status == "503"))
    spec.components.response(
        "NotModified", {"description": "The content has this tag.", "headers": {"ETag": _ETAG}}
    )
    for found in operations().values():
        spec.path(path=found.path, operations={"get": _describe(found, by_type)})
    return spec.to_dict()


def text() -> str:
    """The content of the file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


_ERRORS = (
    ("400", "BadRequest", "A parameter is unknown, repeated or invalid."),
    ("404", "NotFound", "There is no such resource."),
    ("503", "Unavailable", "The server or the database has too much to do, or does not respond."),
)


def _with_summary(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with the first paragraph of its docstring; the others are about the program."""
    summary, _, _ = cleandoc(schema["description"]).partition("\n\n")
    return {**schema, "description": summary.replace("\n", " ")}


def _error(description: str, schema: Any, *, is_temporary: bool) -> dict[str, Any]:
    headers = {"headers": {"Retry-After": _RETRY_AFTER}} if is_temporary else {}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}, **headers}


def _describe(operation: Operation, by_type: Mapping[Any, Any]) -> dict[str, Any]:
    schema = by_type[operation.result] if operation.media_type == JSON else {"type": "string"}
    summary, _, description = (getdoc(operation.view) or "").partition("\n\n")
    return {
        "operationId": operation.id,
        "summary": summary,
        **({"description": description} if description else {}),
        "parameters": [*_path_parameters(operation, by_type), *_query_parameters(operation)],
        "responses": {
            "200": {
                "description": summary,
                "headers": {"ETag": _ETAG},
                "content": {operation.media_type: {"schema": schema}},
            },
            "304": "NotModified",
            **{status: name for status, name, _ in _ERRORS if status != "404" or operation.variables},
        },
    }


def _path_parameters(operation: Operation, by_type: Mapping[Any, Any]) -> Iterator[dict[str, Any]]:
    for name in operation.variables:
        yield _parameter(name, "path", by_type[_PATH_PARAMETERS[name]], is_required=True)


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    _schemas, components = msgspec.json.schema_components([operation.query], ref_template=_REF)
    for name, of_parameter in components[operation.query.__name__]["properties"].items():
        yield _parameter(name, "query", of_parameter, is_required=False)


def _parameter(name: str, place: str, schema: Mapping[str, Any], *, is_required: bool) -> dict[str, Any]:
    described = dict(schema)
    description = described.pop("description")
    return {
        "name": name,
        "in": place,
        "required": is_required,
        "description": description,
        "schema": described,
    }


if __name__ == "__main__":
    PATH.write_text(text())
