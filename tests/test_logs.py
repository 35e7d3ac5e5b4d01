"""The log: one line an event, redacted, in files that processes share and that are closed in time."""

import logging
import multiprocessing
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

import dqmsquare_cfg
from dqm2.redaction.redactor import Redactor
from dqmsquare_cfg import Settings, SettingsError
from runtime import logging_setup

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ .*")
HOUR_S = 3600
# A moment at which a period of any whole number of hours up to a day begins.
MIDNIGHT_S = 20_777 * 24 * HOUR_S

Logged = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _outside_of_requests() -> None:
    logging_setup.request_id.set("")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings that need no database."""
    return dqmsquare_cfg.load(
        {
            "ENV_FILE": "",
            "DQM_FFF_SECRET": "a-secret-of-the-tests",
            "LOG_DIR": str(tmp_path / "log"),
            "TMP_DIR": str(tmp_path / "tmp"),
        }
    )


@pytest.fixture
def logged(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Logged:
    """The lines that were logged so far; both places have the same."""
    logging_setup.configure(settings, "tests", debug=False, redact=Redactor(settings.known_hosts))

    def lines() -> list[str]:
        in_file = (settings.log_dir / "tests.log").read_text()
        assert in_file == capsys.readouterr().err
        return in_file.splitlines()

    return lines


def our_handlers() -> list[logging.Handler]:
    return [
        handler
        for handler in logging.getLogger().handlers
        if type(handler).__module__ == "runtime.logging_setup"
    ]


def test_it_writes_one_line_an_event(logged: Logged) -> None:
    logging.getLogger("grabbing.machine_sync").info("mirrored host=%s documents=%d", "dqmfu-c2b03-..", 120)
    logging.getLogger("grabbing.machine_sync").debug("never seen")
    [line] = logged()
    assert LINE.fullmatch(line)
    assert line.endswith(" INFO grabbing.machine_sync mirrored host=dqmfu-c2b03-.. documents=120")


def test_it_writes_details_when_asked(settings: Settings) -> None:
    logging_setup.configure(settings, "tests", debug=True, redact=str)
    logging.getLogger("grabbing.machine_sync").debug("seen")
    logging.getLogger("urllib3.connectionpool").debug("never seen")
    [line] = (settings.log_dir / "tests.log").read_text().splitlines()
    assert line.endswith(" DEBUG grabbing.machine_sync seen")


def test_it_redacts_the_whole_text(logged: Logged) -> None:
    log = logging.getLogger("grabber")
    log.warning("failed reason=%s", "dqmfu-c2b03-45-01.cms: password=sesame from 10.176.62.222")
    error = ConnectionError("can't reach dqmrubu-c2a06-01-01")
    log.error("failed at sm-c2a11-43-01", exc_info=error)
    warnings.warn("token=abcdefghijk", stacklevel=1)
    text = "\n".join(logged())
    for secret in ("c2b03-45", "sesame", "10.176", "c2a06-01", "c2a11-43", "abcdefghijk"):
        assert secret not in text
    assert "[host]" in text
    assert "ConnectionError" in text


def test_it_redacts_what_no_one_caught(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logging_setup.install_excepthooks()

    def fail() -> None:
        raise RuntimeError("no way to dqmfu-c2b03-45-01")

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
        assert " CRITICAL uncaught ended error=RuntimeError\\nTraceback" in line
        assert line.endswith("RuntimeError: no way to [host]")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_it_keeps_any_value_on_its_line(settings: Settings, ending: str) -> None:
    forged = f"x{ending}2026-11-22T13:45:22.123Z CRITICAL server forged"
    logging_setup.configure(settings, "tests", debug=False, redact=lambda text: text)
    logging.getLogger("access").info("answered path=%s", logging_setup.quote_value(forged))
    text = (settings.log_dir / "tests.log").read_text()
    assert len(text.splitlines()) == 1
    assert "answered path=" in text


def test_it_quotes_what_is_not_one_word() -> None:
    assert [logging_setup.quote_value(value) for value in (7, "word", "", "a b", 'a"b', "a=b", "a\\b c")] == [
        "7",
        "word",
        '""',
        '"a b"',
        '"a\\"b"',
        '"a=b"',
        '"a\\\\b c"',
    ]


def test_it_cuts_a_line_that_is_endless(logged: Logged) -> None:
    logging.getLogger("server").info("x" * 1_000_000)
    [line] = logged()
    assert len(line) < 40_000


def test_it_survives_a_record_that_does_not_fit_its_words(logged: Logged) -> None:
    record = {"name": "server", "levelno": logging.INFO, "msg": "number=%d", "args": ("none",)}
    # To our handler alone: pytest's own fails on it.
    for handler in our_handlers():
        handler.handle(logging.makeLogRecord(record))
    [line] = logged()
    assert line.endswith(" ERROR logs unreadable logger=server error=TypeError")


def test_it_writes_characters_that_no_file_can_hold(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test runner's own handlers would hand such a text on to where it can't go.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging_setup.configure(settings, "tests", debug=False, redact=str)
    logging.getLogger("server").info("path=\udcff µ")
    [line] = (settings.log_dir / "tests.log").read_text().splitlines()
    assert line.endswith("path=\\udcff µ")


def test_it_names_the_request(logged: Logged) -> None:
    token = logging_setup.request_id.set("ab12")
    logging.getLogger("server").info("during")
    logging_setup.request_id.reset(token)
    logging.getLogger("server").info("after")
    assert [line.rpartition("server ")[2] for line in logged()] == ["during request=ab12", "after"]


def test_it_replaces_what_was_configured_before(logged: Logged, settings: Settings) -> None:
    logging_setup.configure(settings, "tests", debug=False, redact=str)
    logging.getLogger("server").info("once")
    assert len(logged()) == 1


def test_it_takes_gunicorns_log_in(logged: Logged, settings: Settings) -> None:
    gunicorn = logging.getLogger("gunicorn.error")
    gunicorn.propagate = False
    gunicorn.addHandler(logging.StreamHandler())
    logging_setup.configure(settings, "tests", debug=False, redact=str)
    gunicorn.info("Booting worker")
    [line] = logged()
    assert line.endswith(" INFO gunicorn.error Booting worker")


def test_it_refuses_a_folder_that_it_cannot_write(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"LOG_DIR can't be used: .*/file/tests\.log: File exists"):
        logging_setup.configure(
            replace(settings, log_dir=tmp_path / "file"), "tests", debug=False, redact=str
        )


def test_it_goes_on_where_the_file_cannot_be_written(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    logging_setup.configure(settings, "tests", debug=False, redact=str)
    path = settings.log_dir / "tests.log"
    path.unlink()
    path.symlink_to("/dev/full")
    for number in range(3):
        logging.getLogger("server").info("number=%d", number)
    error = capsys.readouterr().err
    assert [line.rpartition(" ")[2] for line in error.splitlines() if "number" in line] == [
        "number=0",
        "number=1",
        "number=2",
    ]
    assert error.count("logs file failed") == 1
    path.unlink()
    logging.getLogger("server").info("works again")
    assert path.read_text().endswith("works again\n")


def file_of(folder: Path, *, hours: int = 24, kept: int = 3) -> logging_setup.SharedFile:
    return logging_setup.SharedFile(folder / "server.log", period_s=hours * HOUR_S, kept=kept)


def age(folder: Path, unix_s: float) -> None:
    """Makes the open file one that was last written then."""
    os.utime(folder / "server.log", (unix_s, unix_s))


def closed(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("server.log.*"))}


def test_it_closes_a_file_when_its_period_is_over(tmp_path: Path) -> None:
    file = file_of(tmp_path, hours=6)
    file.write("first")
    file.write("second")
    age(tmp_path, MIDNIGHT_S + 7 * HOUR_S)
    file.write("third")
    assert closed(tmp_path) == {"server.log.2026-11-20T06": "first\nsecond\n"}
    assert (tmp_path / "server.log").read_text() == "third\n"
    file.close()


def test_it_goes_on_with_a_file_of_its_period(tmp_path: Path) -> None:
    for line in ("first", "second"):
        file = file_of(tmp_path)
        file.write(line)
        file.close()
    assert (tmp_path / "server.log").read_text() == "first\nsecond\n"
    assert closed(tmp_path) == {}


def test_it_closes_a_file_that_an_earlier_program_left(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("of yesterday\n")
    age(tmp_path, MIDNIGHT_S)
    file = file_of(tmp_path)
    file.write("of today")
    file.close()
    assert list(closed(tmp_path).values()) == ["of yesterday\n"]
    assert (tmp_path / "server.log").read_text() == "of today\n"


def test_it_keeps_the_newest_closed_files(tmp_path: Path) -> None:
    (tmp_path / "server.log.old").touch()
    file = file_of(tmp_path, hours=1, kept=3)
    for hour in range(6):
        file.write(f"hour {hour}")
        age(tmp_path, MIDNIGHT_S + hour * HOUR_S)
    file.write("now")
    file.close()
    kept = {f"server.log.2026-11-20T0{hour}": f"hour {hour}\n" for hour in (3, 4, 5)}
    assert closed(tmp_path) == {**kept, "server.log.old": ""}


def test_it_overwrites_no_closed_file(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    for line in ("first", "second", "third"):
        file.write(line)
        age(tmp_path, MIDNIGHT_S)
    file.write("now")
    file.close()
    assert sorted(closed(tmp_path).values()) == ["first\n", "second\n", "third\n"]


def test_it_follows_a_file_that_was_taken_away(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    file.write("first")
    (tmp_path / "server.log").rename(tmp_path / "elsewhere")
    file.write("second")
    file.close()
    assert (tmp_path / "server.log").read_text() == "second\n"


def test_it_lets_only_its_own_group_read(tmp_path: Path) -> None:
    file_of(tmp_path).close()
    assert (tmp_path / "server.log").stat().st_mode & 0o037 == 0


def write_many(folder: Path, name: str, lines: int, rounds: int) -> None:
    """Writes lines from a process of its own, making the file old now and then."""
    file = file_of(folder, hours=1, kept=1000)
    for number in range(lines):
        file.write(f"{name} {number} {'x' * 200}")
        if number % (lines // rounds) == 0:
            # Another process may be closing it at this moment.
            with suppress(FileNotFoundError):
                age(folder, MIDNIGHT_S)
    file.close()


def test_it_loses_no_line_of_processes_that_share_a_file(tmp_path: Path) -> None:
    lines = 500
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write_many, args=(tmp_path, f"writer{number}", lines, 10))
        for number in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    text = "".join(path.read_text() for path in tmp_path.glob("server.log*"))
    written = {line for line in text.splitlines() if line.endswith("x" * 200)}
    assert len(written) == len(text.splitlines()) == 3 * lines
    assert len(closed(tmp_path)) > 1


def test_it_touches_no_other_file_once_it_is_closed(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    file.write("before")
    file.close()
    # The system gives the number of the closed file to the next that is opened.
    with (tmp_path / "other").open("w") as other:
        with pytest.raises(OSError, match="Bad file descriptor"):
            file.write("after")
        file.close()
        other.write("its own")
    assert (tmp_path / "other").read_text() == "its own"
    assert (tmp_path / "server.log").read_text() == "before\n"
