"""Answers over whole ranges of runs: a few of them at a time, so that threads are left for everything else.

Such an answer takes as long as its range is wide and its reader slow.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from typing import Any, ParamSpec

from flask import Flask, Response, current_app
from werkzeug.exceptions import ServiceUnavailable

from dqmsquare_cfg import Settings
from web.serving.busy import RETRY_AFTER_S

P = ParamSpec("P")

_EXTENSION = "mirror_wide_answers"
# Of the threads that answer requests this part may be taken.
_PART = 4
_SENTENCE = "Others are asking for ranges of runs. Ask again in a moment, or for a run at a time."


def init_app(app: Flask, settings: Settings) -> None:
    """Sets how many there may be at a time."""
    app.extensions[_EXTENSION] = threading.BoundedSemaphore(max(1, settings.server_threads // _PART))


def a_few_at_a_time(view: Callable[P, Response]) -> Callable[P, Response]:
    """Makes a view refuse with 503 while too many answers of its kind are under way."""

    @wraps(view)
    def limited(*args: P.args, **kwargs: P.kwargs) -> Response:
        places: threading.BoundedSemaphore = current_app.extensions[_EXTENSION]
        if not places.acquire(blocking=False):
            raise ServiceUnavailable(_SENTENCE, retry_after=RETRY_AFTER_S)
        with ExitStack() as place:
            place.callback(places.release)
            response = view(*args, **kwargs)
            if response.is_streamed:
                _hold_until_sent(response, place.pop_all())
        return response

    return limited


def _hold_until_sent(response: Response, place: ExitStack) -> None:
    """Gives the place back once the answer is sent, or its reader is gone."""
    pieces = response.response

    def until_sent() -> Iterator[Any]:
        with place:
            yield from pieces

    response.response = until_sent()
    # One that was never begun to be sent ends in this alone.
    response.call_on_close(place.close)
