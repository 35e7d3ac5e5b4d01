"""The benchmarks' command lines: each tells what it measures, and takes nothing that can't be measured."""

import importlib
import re
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parent.parent / "Makefile"
BENCHMARKS = re.findall(r"-m (benchmarks\.\w+)", MAKEFILE.read_text())


def ended(module: str, *arguments: str) -> int | str | None:
    """The status with which a benchmark ends by its command line alone."""
    with pytest.raises(SystemExit) as end:
        importlib.import_module(module).main(arguments)
    return end.value.code


@pytest.mark.parametrize("module", BENCHMARKS)
def test_it_tells_what_it_measures_and_measures_nothing(
    capsys: pytest.CaptureFixture[str], module: str
) -> None:
    assert ended(module, "--help") == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: python -m {module} [-h]")
    assert str(importlib.import_module(module).__doc__).strip() in told


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (["benchmarks.storage_size", "none.gz"], "there is no file 'none.gz'"),
        (["benchmarks.legacy_import", "--jobs", "0"], "'0' is no whole number from 1 on"),
        (["benchmarks.idle_usage", "--minutes", "nan"], "'nan' is no number above 0"),
    ],
)
def test_it_refuses_what_can_t_be_measured(
    capsys: pytest.CaptureFixture[str], words: list[str], refused: str
) -> None:
    assert ended(*words) == 2
    assert capsys.readouterr().err.rstrip().endswith(refused)
