"""docs/promises.md names a test for each promise, and each of these tests exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "promises.md").read_text()
PROMISES = re.findall(r"^- .*(?:\n  .*)*", DOCUMENT, flags=re.MULTILINE)
NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", DOCUMENT)


def defined_in(file: str) -> set[str]:
    """Names of the test functions of a file below tests/; none if there is no such file."""
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text() if path.is_file() else "")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_promise_has_a_test() -> None:
    untested = [promise for promise in PROMISES if not re.search(r":\n  `[\w/]+\.py::test_\w+`", promise)]
    assert not untested, "\n".join(untested)
    assert DOCUMENT.count("\n- ") == len(PROMISES) > 0


def test_each_named_test_exists() -> None:
    defined = {file: defined_in(file) for file in {file for file, _ in NAMED}}
    missing = [f"{file}::{name}" for file, name in NAMED if name not in defined[file]]
    assert not missing, "\n".join(missing)
    assert DOCUMENT.count(".py::") == len(NAMED)
