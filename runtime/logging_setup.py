"""Logging: one redacted line per event, to stderr and to a rotating file that several processes share.

A line is `time level logger event key=value …`, or a JSON object with the same content. Events are
snake_case; free text goes into `reason=`. The whole text of a line, tracebacks included, is redacted, and
control characters are escaped, so that no value can forge a line.
"""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from concurrent_log_handler import ConcurrentTimedRotatingFileHandler

from dqmsquare_cfg import Settings

# Id of the current request, appended to every line that is logged while it is handled.
request_id: ContextVar[str] = ContextVar("request_id", default="")

Redact = Callable[[str], str]
# `extra` of a record whose message is redacted already.
REDACTED = {"is_redacted": True}

log = logging.getLogger(__name__)

# C0, DEL, C1 and the Unicode separators: everything that some program takes for the end of a line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PLAIN_WORD = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f]+")
_MAX_LINE = 32_000
_FILE_MODE = 0o640
_LEVELS = {
    "asyncio": logging.INFO,
    "PIL": logging.INFO,
    # Warns of headers that DQM² or the front end gets wrong at each response, partly with a traceback.
    "urllib3": logging.ERROR,
    "werkzeug": logging.INFO,
    # Reports at INFO every plugin that it sets up.
    "alembic.runtime.plugins": logging.WARNING,
}
# Loggers of the HTTP server, which have handlers of their own. Its access logs stay off: they have queries.
_SERVER_LOGGERS = ("gunicorn.error", "uvicorn", "uvicorn.error")


def configure(settings: Settings, role: str, *, debug: bool, redact: Redact) -> None:
    """Send the log to stderr and to `LOG_DIR/<role>.log`, replacing an earlier configuration.

    Log files are a convenience: without `LOG_DIR`, or after a warning if it cannot be used, stderr is the
    only destination.
    """
    formatter = _FORMATTERS[settings.log_format](redact)
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _StderrHandler | _FileHandler)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    _add_handler(_StderrHandler(), formatter)
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    for name in _SERVER_LOGGERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.captureWarnings(capture=True)
    if settings.log_dir is not None:
        path = settings.log_dir / f"{role}.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file_handler = _FileHandler(path, settings.logger_rotation_time, settings.logger_max_n_log_files)
        except OSError as error:
            log.warning("log_file_unavailable setting=LOG_DIR path=%s reason=%s", path, _reason(error))
        else:
            _add_handler(file_handler, formatter)


def install_excepthooks() -> None:
    """Log uncaught exceptions, so that they are redacted, instead of printing them to stderr."""
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def quote_value(value: object) -> str:
    """Value for `key=value`, in quotes unless it is a plain word."""
    text = str(value)
    if _PLAIN_WORD.fullmatch(text):
        return text
    if '"' in text or "\\" in text:
        # They mark names, as in `role "dqm" does not exist`, which are not recognized once they are escaped.
        text = _redacted(text)
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))


def _redacted(text: str) -> str:
    """Text as it is redacted in lines; as it is before the log is configured."""
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    formatter = next((each for each in formatters if isinstance(each, _LineFormatter)), None)
    return text if formatter is None else formatter.redact(text)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            # It is closed, or its reader is gone; the file has the line.
            return


class _FileHandler(ConcurrentTimedRotatingFileHandler):
    """Log file shared by several processes; a failure is logged once until writing succeeds again."""

    def __init__(self, path: Path, rotation_h: int, max_rotated: int) -> None:
        super().__init__(
            str(path),
            when="H",
            interval=rotation_h,
            backupCount=max_rotated,
            encoding="utf-8",
            utc=True,
            chmod=_FILE_MODE,
        )
        self._is_failing = False
        self._has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        self._has_failed = False
        super().emit(record)
        self._is_failing = self._has_failed

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        """Whether the file is due for rotation; all processes share that time, which only advances."""
        return time.time() >= self.rolloverAt and bool(super().shouldRollover(record))

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802
        self._has_failed = True
        if not self._is_failing:
            # This line goes to stderr, and fails here again.
            self._is_failing = True
            log.error("log_file_failed reason=%s", _reason(sys.exception()))


class _LineFormatter(logging.Formatter):
    """Formats a record once, for both handlers: redaction is expensive."""

    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line: str | None = getattr(record, "formatted_line", None)
        if line is None:
            line = self._line(record).encode(errors="backslashreplace").decode()
            record.formatted_line = line
        return line

    def _line(self, record: logging.LogRecord) -> str:
        request = request_id.get()
        suffix = f" request={request}" if request else ""
        return f"{_time(record)} {record.levelname} {record.name} {self._event(record)}{suffix}"

    def _event(self, record: logging.LogRecord) -> str:
        try:
            text = record.getMessage()
        except (TypeError, ValueError) as error:
            text = f"log_record_invalid error={type(error).__name__}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        redacted = text if getattr(record, "is_redacted", False) else self.redact(text)
        line = _CONTROL.sub(_escape, redacted)
        return line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}…"


class _JsonFormatter(_LineFormatter):
    def _line(self, record: logging.LogRecord) -> str:
        request = request_id.get()
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "event": self._event(record),
            **({"request": request} if request else {}),
        }
        return json.dumps(line, ensure_ascii=False)


# By LOG_FORMAT.
_FORMATTERS = {"text": _LineFormatter, "json": _JsonFormatter}


def _add_handler(handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _ESCAPES.get(character) or f"\\u{ord(character):04x}"


def _reason(error: BaseException | None) -> str:
    return quote_value(getattr(error, "strerror", None) or type(error).__name__)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logging.getLogger("uncaught").critical(
            "exception_uncaught error=%s", kind.__name__, exc_info=(kind, error, trace)
        )


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
