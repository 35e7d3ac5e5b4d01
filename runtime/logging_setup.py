"""The log: one line an event, to standard error and to a file that several processes share.

A line is `time level logger event key=value …`, or by setting a JSON object with the same in it. Its text
passes redaction as a whole, exception included, before it is written anywhere, and stays on its line whatever
it holds: a newline in a value is written as `\\n`, so that nobody forges an event.
"""

import fcntl
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from dqmsquare_cfg import Settings, SettingsError

# The id of the request that is being answered; every line that is logged meanwhile ends with it.
request_id: ContextVar[str] = ContextVar("request_id", default="")

Redact = Callable[[str], str]

# C0, DEL, C1 and the two separators: all that some reader of the file takes for the end of a line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PLAIN = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f]+")
_LONGEST_LINE = 32_000
_HOUR_S = 3600
# What is no file's number.
_CLOSED = -1
# What they say in detail is of no use here.
_TALKATIVE = ("asyncio", "PIL", "urllib3", "werkzeug")
# What Alembic sets up at a start is nothing to an operator.
_SILENT = ("alembic.runtime.plugins",)
_GUNICORN = ("gunicorn.error", "gunicorn.access")


def configure(settings: Settings, role: str, *, debug: bool, redact: Redact) -> None:
    """Sends the log to standard error and to `LOG_DIR/<role>.log`, in place of what was configured before.

    Raises SettingsError if the file can't be written.
    """
    path = settings.log_dir / f"{role}.log"
    period_s = settings.logger_rotation_time * _HOUR_S
    try:
        file = SharedFile(path, period_s=period_s, kept=settings.logger_max_n_log_files)
    except OSError as error:
        raise SettingsError([f"LOG_DIR can't be used: {path}: {error.strerror}"]) from error
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LineHandler)]:
        root.removeHandler(handler)
        handler.close()
    root.addHandler(_LineHandler(file, _FORMATTERS[settings.log_format](redact)))
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _GUNICORN:
        _give_to_root(logging.getLogger(name))
    logging.captureWarnings(capture=True)


def install_excepthooks() -> None:
    """Sends what no one caught through the log, where it is redacted, instead of bare to standard error."""
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def quote_value(value: object) -> str:
    """A value as it stands behind `key=`: quoted where it is not one plain word."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


class SharedFile:
    """A file that several processes append lines to; the first that writes in a new period closes it.

    Periods of `period_s` seconds are counted in UTC; a closed file is called after the one that it is of,
    and the newest `kept` of them stay.
    """

    def __init__(self, path: Path, *, period_s: int, kept: int) -> None:
        self._path = path
        self._period_s = period_s
        self._kept = kept
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._open()

    def write(self, line: str) -> None:
        """Appends a line. Raises OSError, as it does once the file is closed."""
        if not self._is_current():
            self._reopen()
        if self._is_due():
            self._close_period()
        left = memoryview(f"{line}\n".encode(errors="backslashreplace"))
        while left:
            left = left[os.write(self._descriptor, left) :]

    def close(self) -> None:
        """Closes the file in this process, for good; its number may be another file's then."""
        if self._descriptor != _CLOSED:
            os.close(self._descriptor)
            self._descriptor = _CLOSED

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _reopen(self) -> None:
        # In this order, so that a failure leaves an open file behind.
        opened = self._open()
        os.close(self._descriptor)
        self._descriptor = opened

    def _is_current(self) -> bool:
        """Whether what is open is still what is called so: another process may have closed the period."""
        opened = os.fstat(self._descriptor)
        try:
            return os.path.samestat(self._path.stat(), opened)
        except FileNotFoundError:
            return False

    def _is_due(self) -> bool:
        status = os.fstat(self._descriptor)
        return status.st_size > 0 and self._period(status.st_mtime) < self._period(time.time())

    def _period(self, unix_s: float) -> int:
        return int(unix_s // self._period_s)

    def _close_period(self) -> None:
        # The lock is on what gets renamed: who waited for it finds another file under the name.
        with _locked(self._descriptor):
            if self._is_current():
                self._path.rename(self._closed_name())
                self._forget_oldest()
        self._reopen()

    def _closed_name(self) -> Path:
        period = self._period(os.fstat(self._descriptor).st_mtime)
        start = datetime.fromtimestamp(period * self._period_s, UTC)
        name = self._path.with_name(f"{self._path.name}.{start:%Y-%m-%dT%H}")
        # A clock that was set back, or a shorter period than before, makes the same name again.
        number = 1
        while name.exists():
            number += 1
            name = self._path.with_name(f"{self._path.name}.{start:%Y-%m-%dT%H}.{number}")
        return name

    def _forget_oldest(self) -> None:
        closed = sorted(self._path.parent.glob(f"{self._path.name}.[0-9]*"))
        for path in closed[: -self._kept]:
            path.unlink(missing_ok=True)


class _LineHandler(logging.Handler):
    """Makes a line of a record once and writes it to standard error and to the file."""

    def __init__(self, file: SharedFile, formatter: logging.Formatter) -> None:
        super().__init__()
        self._file = file
        self._file_works = True
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except (TypeError, ValueError) as error:
            line = f"{_time(record)} ERROR logs unreadable logger={record.name} error={type(error).__name__}"
        self._to_standard_error(line)
        try:
            self._file.write(line)
        except OSError as error:
            self._tell_of_file(record, error)
        else:
            self._file_works = True

    def close(self) -> None:
        # Not while another thread writes a line.
        self.acquire()
        try:
            self._file.close()
        finally:
            self.release()
        super().close()

    def _to_standard_error(self, line: str) -> None:
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            # Closed, or nobody reads it any more. The file has the line.
            return

    def _tell_of_file(self, record: logging.LogRecord, error: OSError) -> None:
        # Once, until it works again: standard error has every line anyway.
        if self._file_works:
            self._to_standard_error(
                f"{_time(record)} ERROR logs file failed reason={quote_value(error.strerror)}"
            )
        self._file_works = False


class _LineFormatter(logging.Formatter):
    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        request = request_id.get()
        of_request = f" request={request}" if request else ""
        return f"{_time(record)} {record.levelname} {record.name} {self._event(record)}{of_request}"

    def _event(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        line = _CONTROL.sub(_named, self._redact(text))
        if len(line) > _LONGEST_LINE:
            line = f"{line[:_LONGEST_LINE]}…"
        return line


class _JsonFormatter(_LineFormatter):
    def format(self, record: logging.LogRecord) -> str:
        request = request_id.get()
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "event": self._event(record),
            **({"request": request} if request else {}),
        }
        return json.dumps(line, ensure_ascii=False)


# By the setting LOG_FORMAT.
_FORMATTERS = {"text": _LineFormatter, "json": _JsonFormatter}


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _named(match: re.Match[str]) -> str:
    character = match[0]
    return _NAMES.get(character) or f"\\u{ord(character):04x}"


def _give_to_root(logger: logging.Logger) -> None:
    logger.handlers.clear()
    logger.propagate = True


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("ended error=%s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
