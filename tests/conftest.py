"""Hooks of all test runs: random examples, collection, and fixtures, which are in `fixtures.py`."""

import gc
from collections.abc import Generator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.examples import ALL_EXAMPLES
from tests.skips import pytest_runtest_makereport, pytest_terminal_summary  # noqa: F401 - hooks of pytest

_TESTS = Path(__file__).parent
# Allocated objects before Python looks for garbage. With its default of 700 that took a fifth of the CPU.
_GC_THRESHOLD = 10_000

# Examples have no time limit: on a loaded machine each may take long. They are a few, the same in each run,
# except for `make test-all`, which is to find new ones.
for profile, derandomize, max_examples in (("same-examples", True, 25), (ALL_EXAMPLES, False, 100)):
    hypothesis.settings.register_profile(
        profile,
        max_examples=max_examples,
        deadline=None,
        derandomize=derandomize,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile("same-examples")
_find_constants = providers._get_local_constants


def _constants_to_try() -> Constants:
    """Constants of the program, of which Hypothesis makes examples: none if the same are tried each time.

    It parses all modules for them, for a second of CPU in each worker.
    """
    is_same = hypothesis.settings.get_current_profile_name() == "same-examples"
    return Constants() if is_same else _find_constants()


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, except in a process that leaves all tests to workers: they start after it."""
    providers._get_local_constants = _constants_to_try
    if config.getoption("dist", "no") == "no":
        pytest.register_assert_rewrite("tests.fixtures")
        config.pluginmanager.import_plugin("tests.fixtures")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Leave the modules and the thousands of collected tests, which all stay, out of garbage collections."""
    gc.disable()
    _import_own_share(session.config)
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        gc.enable()


def _import_own_share(config: pytest.Config) -> None:
    """Import a part of the test modules before all are collected: in each worker of a whole run another one.

    In a new clone the workers would compile each module at the same time, for 4 s of CPU in each worker. So
    they find most of them compiled by another.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    number = int(worker["workerid"].removeprefix("gw"))
    for file in sorted(_TESTS.rglob("test_*.py"))[number :: worker["workercount"]]:
        # The collection reports a module that can't be imported.
        with suppress(Exception):
            import_module(".".join(file.relative_to(_TESTS).with_suffix("").parts))
