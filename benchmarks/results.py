"""How a benchmark tells its figures: a table for people, JSON for whoever compares runs."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

Figure = float | int | str | bool | None
_FOLDER = Path(__file__).resolve().parent.parent / "tmp" / "benchmarks"


def tell(name: str, rows: Sequence[Mapping[str, Figure]], *, notes: Sequence[str] = ()) -> None:
    """Prints rows of the same columns as a table, notes below, and writes all of it as JSON."""
    print(f"\n{name}\n")
    for line in _table(rows):
        print(f"  {line}")
    for note in notes:
        print(f"\n  {note}")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    path = _FOLDER / f"{name}.json"
    told = {"name": name, "machine": _machine(), "rows": list(rows), "notes": list(notes)}
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    print(f"\n  written to {path.relative_to(_FOLDER.parent.parent)}")


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
