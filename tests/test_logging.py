"""Logging: one redacted line per event, on stderr and in rotating files that processes share."""

import json
import logging
import multiprocessing
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import dqmsquare_cfg
from dqm2.redaction.redactor import Redactor
from dqmsquare_cfg import Settings
from runtime import logging_setup

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ .*")
HOUR_S = 3600

Logged = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _outside_of_requests() -> None:
    """Remove the id of a request that an earlier test has left."""
    logging_setup.request_id.set("")


def load_settings(folder: Path, **environment: str) -> Settings:
    """Settings with `folder` for logs; they need no database."""
    return dqmsquare_cfg.load(
        {
            "ENV_FILE": "",
            "DQM_FFF_SECRET": "a-secret-of-the-tests",
            "LOG_DIR": str(folder / "log"),
            "TMP_DIR": str(folder / "tmp"),
            **environment,
        }
    )


def configure(settings: Settings, *, redact: Callable[[str], str] = str) -> None:
    logging_setup.configure(settings, "tests", debug=False, redact=redact)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings without a database."""
    return load_settings(tmp_path)


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """Path of the log file with `settings`."""
    return tmp_path / "log" / "tests.log"


@pytest.fixture
def logged(settings: Settings, log_file: Path, capsys: pytest.CaptureFixture[str]) -> Logged:
    """Lines logged so far; the file and stderr have the same."""
    configure(settings, redact=Redactor(settings.known_hosts))

    def lines() -> list[str]:
        in_file = log_file.read_text()
        assert in_file == capsys.readouterr().err
        return in_file.splitlines()

    return lines


def our_handlers() -> list[logging.Handler]:
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if type(handler).__module__ == logging_setup.__name__]


def rotated(log_file: Path) -> list[Path]:
    return sorted(log_file.parent.glob(f"{log_file.name}.*"))


def test_it_writes_one_line_per_event(logged: Logged) -> None:
    logging.getLogger("grabbing.machine_sync").info(
        "sync_progress host=%s documents=%d", "dqmfu-c2b03-..", 120
    )
    logging.getLogger("grabbing.machine_sync").debug("never_seen")
    [line] = logged()
    assert LINE.fullmatch(line)
    assert line.endswith(" INFO grabbing.machine_sync sync_progress host=dqmfu-c2b03-.. documents=120")


def test_it_writes_debug_lines_if_asked(settings: Settings, log_file: Path) -> None:
    logging_setup.configure(settings, "tests", debug=True, redact=str)
    logging.getLogger("grabbing.machine_sync").debug("seen")
    logging.getLogger("urllib3.connectionpool").debug("never_seen")
    [line] = log_file.read_text().splitlines()
    assert line.endswith(" DEBUG grabbing.machine_sync seen")


def test_it_redacts_names_in_quotes(logged: Logged) -> None:
    reason = logging_setup.quote_value('FATAL:  role "dqm_mirror" does not exist')
    logging.getLogger("web.databases").warning("database_unavailable reason=%s", reason)
    assert logged()[0].endswith(r'reason="FATAL:  role \"[user]\" does not exist"')


def test_it_redacts_the_whole_text(logged: Logged) -> None:
    log = logging.getLogger("grabber")
    log.warning("failed reason=%s", "dqmfu-c2b03-45-01.cms: password=sesame from 10.176.62.222")
    error = ConnectionError("can't reach dqmrubu-c2a06-01-01")
    log.error("failed at sm-c2a11-43-01", exc_info=error)
    warnings.warn("token=abcdefghijk", stacklevel=1)
    text = "\n".join(logged())
    for secret in ("c2b03-45", "sesame", "10.176.62", "c2a06-01", "c2a11-43", "abcdefghijk"):
        assert secret not in text
    assert "[host]" in text
    assert "ConnectionError" in text


def test_it_redacts_each_line_once(settings: Settings) -> None:
    calls: list[str] = []
    configure(settings, redact=lambda text: calls.append(text) or text)  # type: ignore[func-returns-value]
    logging.getLogger("server").info("event")
    assert calls == ["event"]


def test_it_redacts_uncaught_exceptions(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logging_setup.install_excepthooks()

    def fail() -> None:
        raise RuntimeError("no route to dqmfu-c2b03-45-01")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    lines = logged()
    assert len(lines) == 2
    for line in lines:
        assert " CRITICAL uncaught exception_uncaught error=RuntimeError\\nTraceback" in line
        assert line.endswith("RuntimeError: no route to [host]")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_it_keeps_any_value_on_one_line(settings: Settings, log_file: Path, ending: str) -> None:
    configure(settings)
    forged = f"x{ending}2026-11-22T13:45:22.123Z CRITICAL server forged"
    logging.getLogger("access").info("http_request path=%s", logging_setup.quote_value(forged))
    text = log_file.read_text()
    assert len(text.splitlines()) == 1
    assert "http_request path=" in text


def test_it_quotes_values_other_than_plain_words() -> None:
    values = (7, "word", "", "a b", 'a"b', "a=b", "a\\b c")
    assert [logging_setup.quote_value(value) for value in values] == [
        "7",
        "word",
        '""',
        '"a b"',
        '"a\\"b"',
        '"a=b"',
        '"a\\\\b c"',
    ]


def test_it_truncates_a_long_line(logged: Logged) -> None:
    logging.getLogger("server").info("x" * 1_000_000)
    [line] = logged()
    assert len(line) < 40_000


def test_it_survives_a_record_whose_arguments_do_not_fit(logged: Logged) -> None:
    record = logging.makeLogRecord(
        {
            "name": "server",
            "levelname": "INFO",
            "levelno": logging.INFO,
            "msg": "number=%d",
            "args": ("none",),
        }
    )
    # Passed to our handlers only: pytest's raises an error.
    for handler in our_handlers():
        handler.handle(record)
    [line] = logged()
    assert line.endswith(" INFO server log_record_invalid error=TypeError")


def test_it_escapes_characters_that_cannot_be_encoded(
    settings: Settings, log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own handlers cannot write such a text.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure(settings)
    logging.getLogger("server").info("path=\udcff µ")
    [line] = log_file.read_text().splitlines()
    assert line.endswith("path=\\udcff µ")


def test_it_appends_the_request_id(logged: Logged) -> None:
    token = logging_setup.request_id.set("ab12")
    logging.getLogger("server").info("during")
    logging_setup.request_id.reset(token)
    logging.getLogger("server").info("after")
    assert [line.rpartition("server ")[2] for line in logged()] == ["during request=ab12", "after"]


def test_it_replaces_an_earlier_configuration(logged: Logged, settings: Settings) -> None:
    configure(settings)
    logging.getLogger("server").info("once")
    assert len(logged()) == 1


@pytest.mark.parametrize("name", ["gunicorn.error", "uvicorn.error"])
def test_it_takes_over_the_http_servers_log(logged: Logged, settings: Settings, name: str) -> None:
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.addHandler(logging.StreamHandler())
    configure(settings)
    logger.info("Booting worker")
    [line] = logged()
    assert line.endswith(f" INFO {name} Booting worker")


def test_it_writes_an_object_per_line_as_json(tmp_path: Path, log_file: Path) -> None:
    settings = load_settings(tmp_path, LOG_FORMAT="json")
    configure(settings, redact=Redactor(settings.known_hosts))
    logging.getLogger("grabber").warning("failed host=%s", "dqmfu-c2b03-45-01")
    token = logging_setup.request_id.set("0123456789ab")
    logging.getLogger("access").info('http_request "quoted"\nfaked: 1')
    logging_setup.request_id.reset(token)
    first, second = map(json.loads, log_file.read_text().splitlines())
    assert first.pop("time") <= second.pop("time")
    assert first == {"level": "WARNING", "logger": "grabber", "event": "failed host=[host]"}
    assert second == {
        "level": "INFO",
        "logger": "access",
        "event": 'http_request "quoted"\\nfaked: 1',
        "request": "0123456789ab",
    }


def test_it_has_an_exception_within_the_event_as_json(tmp_path: Path, log_file: Path) -> None:
    settings = load_settings(tmp_path, LOG_FORMAT="json")
    configure(settings, redact=Redactor(settings.known_hosts))
    try:
        int("fu-c2f11-11-01.cms")
    except ValueError:
        logging.getLogger("grabber").exception("broke")
    [line] = log_file.read_text().splitlines()
    event = json.loads(line)["event"]
    assert event.startswith("broke\\nTraceback")
    assert event.endswith("ValueError: invalid literal for int() with base 10: '[host]'")


def test_it_logs_to_stderr_only_without_a_log_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(tmp_path, LOG_DIR="")
    assert settings.log_dir is None
    configure(settings)
    logging.getLogger("server").info("event")
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(" INFO server event")
    assert not (tmp_path / "log").exists()


def test_it_warns_once_of_an_unusable_log_directory_and_logs_to_stderr(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    configure(replace(settings, log_dir=tmp_path / "file"))
    for number in range(2):
        logging.getLogger("server").info("number=%d", number)
    warning, *lines = capsys.readouterr().err.splitlines()
    assert warning.endswith(
        f'log_file_unavailable setting=LOG_DIR path={tmp_path}/file/tests.log reason="File exists"'
    )
    assert [line.rpartition(" ")[2] for line in lines] == ["number=0", "number=1"]


def test_it_reports_once_that_the_file_cannot_be_written(
    settings: Settings, log_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(settings)
    logging.getLogger("server").info("number=0")
    log_file.unlink()
    log_file.symlink_to("/dev/full")
    for number in range(1, 4):
        logging.getLogger("server").info("number=%d", number)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" ")[2] for line in lines if "number" in line] == [
        f"number={number}" for number in range(4)
    ]
    assert len([line for line in lines if "log_file_failed" in line]) == 1
    log_file.unlink()
    logging.getLogger("server").info("works_again")
    assert log_file.read_text().endswith("works_again\n")


@pytest.fixture
def advance_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock forward by hours."""
    real_time = time.time
    offset_s = 0.0
    monkeypatch.setattr(time, "time", lambda: real_time() + offset_s)

    def advance(hours: int) -> None:
        nonlocal offset_s
        offset_s += hours * HOUR_S

    return advance


def test_it_rotates_the_file_after_the_rotation_time(
    tmp_path: Path, log_file: Path, advance_clock: Callable[[int], None]
) -> None:
    configure(load_settings(tmp_path, LOGGER_ROTATION_TIME="6"))
    logging.getLogger("server").info("first")
    advance_clock(5)
    logging.getLogger("server").info("second")
    advance_clock(1)
    logging.getLogger("server").info("third")
    [earlier] = rotated(log_file)
    assert re.fullmatch(r"tests\.log\.\d{4}-\d\d-\d\d_\d\d", earlier.name)
    assert [line.rpartition(" ")[2] for line in earlier.read_text().splitlines()] == ["first", "second"]
    assert log_file.read_text().endswith("third\n")


def test_it_continues_the_file_after_a_restart(settings: Settings, log_file: Path) -> None:
    for event in ("first", "second"):
        configure(settings)
        logging.getLogger("server").info(event)
    assert [line.rpartition(" ")[2] for line in log_file.read_text().splitlines()] == ["first", "second"]
    assert rotated(log_file) == []


def test_it_keeps_the_newest_rotated_files(
    tmp_path: Path, log_file: Path, advance_clock: Callable[[int], None]
) -> None:
    configure(load_settings(tmp_path, LOGGER_ROTATION_TIME="1", LOGGER_MAX_N_LOG_FILES="3"))
    (log_file.parent / "tests.log.old").touch()
    for number in range(7):
        logging.getLogger("server").info("number=%d", number)
        advance_clock(1)
    *kept, unrelated = rotated(log_file)
    assert unrelated.name == "tests.log.old"
    assert [path.read_text().rpartition("=")[2] for path in kept] == ["3\n", "4\n", "5\n"]


def test_it_follows_a_file_that_is_moved_away(settings: Settings, log_file: Path) -> None:
    configure(settings)
    logging.getLogger("server").info("first")
    log_file.rename(log_file.with_name("moved"))
    logging.getLogger("server").info("second")
    assert log_file.read_text().endswith("second\n")


def test_others_cannot_read_the_file(settings: Settings, log_file: Path) -> None:
    configure(settings)
    logging.getLogger("server").info("event")
    assert log_file.stat().st_mode & 0o037 == 0


def log_many(folder: Path, name: str, count: int, started_at: float) -> None:
    """Logs lines in a process whose clock advances with each, so that it passes through five rotations."""
    number = 0
    time.time = lambda: started_at + 5 * HOUR_S * number / count
    configure(load_settings(folder, LOGGER_ROTATION_TIME="1", LOGGER_MAX_N_LOG_FILES="1000"))
    for number in range(1, count + 1):
        logging.getLogger(name).info("number=%d text=%s", number, "x" * 200)


def test_it_loses_no_line_of_processes_that_share_a_file(tmp_path: Path, log_file: Path) -> None:
    count = 1000
    context = multiprocessing.get_context("spawn")
    started_at = time.time()
    writers = [
        context.Process(target=log_many, args=(tmp_path, f"writer{number}", count, started_at))
        for number in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    lines = [line for path in (log_file, *rotated(log_file)) for line in path.read_text().splitlines()]
    assert all(LINE.fullmatch(line) and line.endswith("x" * 200) for line in lines)
    assert len({re.sub(r"^\S+ ", "", line) for line in lines}) == len(lines) == len(writers) * count
    assert len(rotated(log_file)) > 1


def test_a_late_line_goes_to_no_other_file(settings: Settings, log_file: Path, tmp_path: Path) -> None:
    configure(settings)
    logging.getLogger("server").info("before")
    [file_handler] = [handler for handler in our_handlers() if isinstance(handler, logging.FileHandler)]
    file_handler.close()
    # The system reuses the descriptors of the closed files.
    with (tmp_path / "other").open("w") as other, (tmp_path / "another").open("w") as another:
        logging.getLogger("server").info("after")
        other.write("its own")
        another.write("its own")
    assert (tmp_path / "other").read_text() == (tmp_path / "another").read_text() == "its own"
    assert [line.rpartition(" ")[2] for line in log_file.read_text().splitlines()] == ["before", "after"]
