"""Redaction changes nothing in texts without anything sensitive: a measure of what it takes wrongly.

`ordinary_text/` has a file for each kind of output that job logs contain: written for this purpose, before
the rules were tried on it. A line that is changed is a mistake of the rules, not of the line.
"""

from pathlib import Path

import pytest

from dqm2.redaction.redactor import Redactor

TEXTS = sorted((Path(__file__).parent / "ordinary_text").glob("*.txt"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_it_changes_no_line(path: Path) -> None:
    redact = Redactor(("dqmfu-c2b03-45-01",), ("cmsweb.cern.ch", "cmsoms.cern.ch"))
    lines = path.read_text().splitlines()
    redacted = redact("\n".join(lines)).splitlines()
    assert {line: new for line, new in zip(lines, redacted, strict=True) if line != new} == {}


def test_it_has_room_for_all_of_them_in_its_automaton(capfd: pytest.CaptureFixture[str]) -> None:
    Redactor()("\n".join(path.read_text() for path in TEXTS))
    # Otherwise RE2 reports that it falls back to a slower engine.
    assert "out of memory" not in capfd.readouterr().err


def test_it_has_texts() -> None:
    assert len(TEXTS) >= 14
