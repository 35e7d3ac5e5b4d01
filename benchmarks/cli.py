"""Command line and output of the benchmarks: argument types, result tables, JSON files."""

import argparse
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

Figure = float | int | str | bool | None

_OUTPUT = Path(__file__).resolve().parent.parent / "tmp" / "benchmarks"


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Help with the docstring as it is, and with the default of each option."""


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The argument parser of `python -m benchmarks.<module>`; `description` is the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=_HelpFormatter,
    )


def positive_int(text: str) -> int:
    """An integer from 1 on."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def positive_number(text: str) -> float:
    """A number above 0."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return float(text)


def existing_file(text: str) -> Path:
    """The path of a file that exists."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} does not exist")
    return path


def report(name: str, rows: Sequence[Mapping[str, Figure]], *, notes: Sequence[str] = ()) -> None:
    """Print rows with the same columns as a table, the notes below it, and write all of it as JSON."""
    print(f"\n{name}\n")
    for line in _table(rows):
        print(f"  {line}")
    for note in notes:
        print(f"\n  {note}")
    _OUTPUT.mkdir(parents=True, exist_ok=True)
    path = _OUTPUT / f"{name}.json"
    content = {"name": name, "machine": _machine(), "rows": list(rows), "notes": list(notes)}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"\n  written to {path.relative_to(_OUTPUT.parent.parent)}")


def _table(rows: Sequence[Mapping[str, Figure]]) -> list[str]:
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _cell(figure: Figure) -> str:
    match figure:
        case None:
            return ""
        case bool():
            return "yes" if figure else "no"
        case float():
            return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
        case int():
            return f"{figure:,}"
        case _:
            return str(figure)


def _machine() -> dict[str, Figure]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(),
    }
