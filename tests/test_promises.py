"""docs/promises.md names tests for each promise; they exist, and `make test` runs them or it says why not."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "promises.md").read_text()
PROMISES = re.findall(r"^- .*(?:\n  .*)*", DOCUMENT, flags=re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
NAMED = _TEST.findall(DOCUMENT)
_ONLY_IN_ALL = "*`make test-all` only*"
_LONG = "pytest.mark.long"


@cache
def defined_in(file: str) -> dict[str, bool]:
    """Test functions of a file below tests/, and whether each is long as a whole; none without the file."""
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text() if path.is_file() else "")
    marks = [ast.unparse(node.value) for node in tree.body if isinstance(node, ast.Assign) and is_mark(node)]
    return {
        node.name: any(_LONG in mark for mark in marks) or _LONG in map(ast.unparse, node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


def is_mark(node: ast.Assign) -> bool:
    """Whether an assignment is that of the marks of all tests of a module."""
    return any(ast.unparse(target) == "pytestmark" for target in node.targets)


def test_each_promise_has_a_test() -> None:
    untested = [promise for promise in PROMISES if not re.search(r":\n  `[\w/]+\.py::test_\w+`", promise)]
    assert not untested, "\n".join(untested)
    assert DOCUMENT.count("\n- ") == len(PROMISES) > 0


def test_each_named_test_exists() -> None:
    defined = {file: defined_in(file) for file in {file for file, _ in NAMED}}
    missing = [f"{file}::{name}" for file, name in NAMED if name not in defined[file]]
    assert not missing, "\n".join(missing)
    assert DOCUMENT.count(".py::") == len(NAMED)


def test_make_test_runs_all_tests_of_a_promise_or_none_and_that_is_said() -> None:
    for promise in PROMISES:
        are_long = {defined_in(file).get(name) for file, name in _TEST.findall(promise)}
        assert are_long == {_ONLY_IN_ALL in promise}, promise
