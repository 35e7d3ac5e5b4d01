"""Load shedding: how much of each kind of work a worker takes on at a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from typing import Any, ParamSpec

from flask import Flask, Response, current_app
from werkzeug.exceptions import ServiceUnavailable

from dqmsquare_cfg import Settings

P = ParamSpec("P")

OVERLOADED = "The server has more to do than it can."
# Whatever takes long, most of it is over by then.
RETRY_AFTER_S = 5

_EXTENSION = "mirror_run_ranges"
# Share of the worker's threads that run ranges may take.
_SHARE = 4
_RANGES_BUSY = "Others are asking for ranges of runs. Ask again in a moment, or for a run at a time."


def init_app(app: Flask, settings: Settings) -> None:
    """Set how many run ranges may be answered at a time."""
    app.extensions[_EXTENSION] = threading.BoundedSemaphore(max(1, settings.server_threads // _SHARE))


def run_range(view: Callable[P, Response]) -> Callable[P, Response]:
    """Mark a view that answers for a range of runs: 503 while too many of its kind are being answered."""

    @wraps(view)
    def limited(*args: P.args, **kwargs: P.kwargs) -> Response:
        slots: threading.BoundedSemaphore = current_app.extensions[_EXTENSION]
        if not slots.acquire(blocking=False):
            raise ServiceUnavailable(_RANGES_BUSY, retry_after=RETRY_AFTER_S)
        with ExitStack() as slot:
            slot.callback(slots.release)
            response = view(*args, **kwargs)
            if response.is_streamed:
                _hold_until_sent(response, slot.pop_all())
        return response

    return limited


def _hold_until_sent(response: Response, slot: ExitStack) -> None:
    """Release the slot once the response was sent, or its client is gone."""
    chunks = response.response

    def until_sent() -> Iterator[Any]:
        with slot:
            yield from chunks

    response.response = until_sent()
    # A response that was never started ends by this alone.
    response.call_on_close(slot.close)
