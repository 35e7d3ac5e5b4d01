"""LOG_FORMAT: what the log says is the same as text and as JSON."""

import json
import logging
from pathlib import Path

import pytest

import dqmsquare_cfg
from dqm2.redaction.redactor import Redactor
from runtime import logging_setup


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """Where this process's log goes as JSON."""
    settings = dqmsquare_cfg.load(
        {
            "ENV_FILE": "",
            "DQM_FFF_SECRET": "a-secret-of-the-tests",
            "LOG_DIR": str(tmp_path),
            "TMP_DIR": str(tmp_path / "tmp"),
            "LOG_FORMAT": "json",
        }
    )
    # A request that another test of this process answered may be noted still.
    logging_setup.request_id.set("")
    logging_setup.configure(settings, "tests", debug=False, redact=Redactor(settings.known_hosts))
    return tmp_path / "tests.log"


def test_it_writes_an_object_a_line(log_file: Path) -> None:
    logging.getLogger("grabber").warning("failed host=%s", "dqmfu-c2b03-45-01")
    token = logging_setup.request_id.set("0123456789ab")
    logging.getLogger("access").info('answered "quoted"\nfaked: 1')
    logging_setup.request_id.reset(token)
    first, second = map(json.loads, log_file.read_text().splitlines())
    assert first.pop("time") <= second.pop("time")
    assert first == {"level": "WARNING", "logger": "grabber", "event": "failed host=[host]"}
    assert second == {
        "level": "INFO",
        "logger": "access",
        "event": 'answered "quoted"\\nfaked: 1',
        "request": "0123456789ab",
    }


def test_it_tells_an_exception_within_its_line(log_file: Path) -> None:
    try:
        int("fu-c2f11-11-01.cms")
    except ValueError:
        logging.getLogger("grabber").exception("broke")
    [line] = log_file.read_text().splitlines()
    event = json.loads(line)["event"]
    assert event.startswith("broke\\nTraceback")
    assert event.endswith("ValueError: invalid literal for int() with base 10: '[host]'")
