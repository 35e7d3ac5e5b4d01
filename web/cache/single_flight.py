"""Single flight: concurrent calls for the same key share one result."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Calls in progress, by key."""

    def __init__(self) -> None:
        self._in_progress: dict[Hashable, Future[T]] = {}
        self._lock = threading.Lock()

    def call(self, key: Hashable, function: Callable[[], T]) -> T:
        """Result of `function`, or of the call in progress for this key; raises what that raises."""
        with self._lock:
            in_progress = self._in_progress.get(key)
            if in_progress is None:
                own = self._in_progress[key] = Future()
        if in_progress is not None:
            return in_progress.result()
        try:
            result = function()
        except BaseException as error:
            own.set_exception(error)
            raise
        else:
            own.set_result(result)
            return result
        finally:
            with self._lock:
                del self._in_progress[key]
