"""Command lines of the benchmarks: help, and rejected arguments."""

import importlib
import random
import re
from pathlib import Path
from urllib.parse import parse_qsl
from uuid import UUID

import pytest

from benchmarks.http_load import NEWEST, OF_RANGES, OF_RUNS, Targets
from benchmarks.large_database import Span

MAKEFILE = (Path(__file__).resolve().parent.parent / "Makefile").read_text()
[_NAMES] = re.findall(r"^BENCHMARKS := ((?:.*\\\n)*.*)$", MAKEFILE, flags=re.MULTILINE)
BENCHMARKS = _NAMES.replace("\\\n", " ").split()


def exit_status(name: str, *arguments: str) -> int | str | None:
    """The exit status of a benchmark that ends while it parses its arguments."""
    with pytest.raises(SystemExit) as exited:
        importlib.import_module(f"benchmarks.{name}").main(arguments)
    return exited.value.code


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_prints_its_docstring_as_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert exit_status(name, "--help") == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: python -m benchmarks.{name} [-h]")
    assert str(importlib.import_module(f"benchmarks.{name}").__doc__).strip() in output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["storage_size", "none.gz"], "'none.gz' does not exist"),
        (["legacy_import", "--jobs", "0"], "'0' is not a positive integer"),
        (["idle_usage", "--minutes", "nan"], "'nan' is not a positive number"),
    ],
)
def test_it_rejects_invalid_arguments(
    capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    assert exit_status(*arguments) == 2
    assert capsys.readouterr().err.rstrip().endswith(error)


@pytest.mark.parametrize("runs", [1, 2, 300, 60_000])
def test_it_draws_targets_from_any_number_of_runs(runs: int) -> None:
    span = Span(300_000, 299_999 + runs, jobs=33 * runs)
    targets = Targets(span, [UUID(int=1)], (), random.Random(1))
    assert all(span.first_run <= targets.run <= span.last_run for _ in range(50))
    for make_url in {**NEWEST, **OF_RUNS, **OF_RANGES}.values():
        assert make_url(targets).startswith("/")


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_it_draws_ranges_of_as_many_runs_as_asked(count: int) -> None:
    targets = Targets(Span(300_000, 301_999, jobs=66_000), [UUID(int=1)], (), random.Random(1))
    drawn = {targets.range(count) for _ in range(50)}
    bounds = [dict(parse_qsl(query)) for query in drawn]
    assert {int(each["to"]) - int(each["from"]) + 1 for each in bounds} == {count}
    assert all(int(each["from"]) >= 300_000 and int(each["to"]) <= 301_999 for each in bounds)
