"""docs/dqm2-protocol.md agrees with the client and the parser of DQM²."""

import re
from pathlib import Path

from dqm2 import client
from dqm2.commands import COMMANDS
from dqm2.records import LUMISECTION_S, DocumentType, InputStatus
from simulator import sync_endpoint

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs" / "dqm2-protocol.md").read_text()


def test_it_lists_the_document_types_that_are_mirrored() -> None:
    types = re.findall(r"^\| `(dqm-[a-z-]+)` \|", DOCUMENT, re.MULTILINE)
    assert sorted(types) == sorted(DocumentType)


def test_it_lists_every_status_of_an_input_file() -> None:
    statuses = re.findall(r"^\| `((?:open|close|skipped): [^`]+)` \|$", DOCUMENT, re.MULTILINE)
    assert set(statuses) == {str(status) for status in InputStatus} - {""}


def test_it_lists_every_command_with_its_parameters() -> None:
    rows = re.findall(r"^\| `([a-z]+_[a-z_]+)` \| ([^|]*) \|", DOCUMENT, re.MULTILINE)
    documented = {
        what: (
            set(re.findall(r"(?<!\[)`(\w+)`", parameters)),
            set(re.findall(r"\[`(\w+)`\]", parameters)),
        )
        for what, parameters in rows
    }
    relayed = {
        command.what: (set(map(str, command.required)), set(map(str, command.optional)))
        for command in COMMANDS.values()
        if not command.is_local
    }
    assert documented == relayed


def test_it_states_the_limits_that_the_code_has() -> None:
    assert f"the mirror sends at most {client.MAX_IDS}" in DOCUMENT
    assert f"messages of at most {sync_endpoint.HEADERS_PER_MESSAGE} headers" in DOCUMENT.replace("\n", " ")
    assert f"{LUMISECTION_S} s of data taking" in DOCUMENT
