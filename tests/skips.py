"""Skipped tests: skipping those whose program is missing, and the list of them at the end of a run.

A pytest plugin, loaded by `conftest.py`. With CI=true in the environment a skipped test fails.
"""

import os
from collections import Counter
from collections.abc import Generator

import pytest

from tools.install import SYSTEM_PACKAGES, find_executable


def require(package: str) -> str:
    """Path of a package's executable; without it the test is skipped."""
    path = find_executable(package)
    if path is None:
        pytest.skip(_reason(package))
    return path


def needs(package: str) -> pytest.MarkDecorator:
    """Marker of a test that needs a package's executable."""
    return pytest.mark.skipif(find_executable(package) is None, reason=_reason(package))


def _reason(package: str) -> str:
    executables, purpose = SYSTEM_PACKAGES[package]
    return f"{purpose}: {executables[0]} is missing (on Debian: apt-get install {package})"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure with CI=true."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.longrepr = f"skipped, which is not allowed with CI=true: {_reason_of(report)}"
        report.outcome = "failed"
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each reason for which tests were skipped."""
    reasons = Counter(map(_reason_of, terminalreporter.getreports("skipped")))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"NOT TESTED, {count} tests: {reason}", red=True, bold=True)


def _reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
