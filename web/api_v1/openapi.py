"""Description of the API in OpenAPI 3.1.

`openapi.json` is made from the API's operations and types by `tools/api_description.py`. The examples in
`examples.json` are responses of the API. `tests/test_api_v1_examples.py` compares both.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime import version

PATH = Path(__file__).with_name("openapi.json")
_EXAMPLES = Path(__file__).with_name("examples.json")


def document(root: str) -> dict[str, Any]:
    """The description of the API whose path is `root`, with examples."""
    described: dict[str, Any] = json.loads(PATH.read_text())
    described["info"]["summary"] = f"API of DQM² Mirror {version.current()}"
    described["servers"] = [{"url": root}]
    of_operations = examples()
    for path in described["paths"].values():
        for content in path["get"]["responses"]["200"]["content"].values():
            content["example"] = of_operations[path["get"]["operationId"]]["response"]
    return described


def examples() -> Mapping[str, Mapping[str, Any]]:
    """A request and its response for each operation, by id: `{"path": …, "response": …}`."""
    found: Mapping[str, Mapping[str, Any]] = json.loads(_EXAMPLES.read_text())
    return found
