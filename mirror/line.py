"""The one line to the gateway: a question at a time, and a program that stays awake while it waits.

The gateway serves nobody else while it works on a question, so a grabber has at most one in flight
(protocol, "The way in"). Questions are asked on a thread of their own, which ends with the program whatever
it waits for: no slow or hanging gateway keeps a grabber from its heartbeat, or from ending in time.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The program is to end."""


class Stop:
    """The wish that the program end: set once, waited for anywhere."""

    def __init__(self) -> None:
        self._wish: Future[None] = Future()
        self._lock = threading.Lock()

    def set(self) -> None:
        """Wishes the end."""
        with self._lock:
            if not self._wish.done():
                self._wish.set_result(None)

    @property
    def is_set(self) -> bool:
        """Whether the program is to end."""
        return self._wish.done()

    def wait(self, timeout_s: float) -> bool:
        """Waits so long at most; whether the program is to end."""
        return bool(wait([self._wish], timeout_s).done)

    def wait_with(self, future: Future[T], timeout_s: float) -> None:
        """Waits for `future` so long at most, or until the program is to end."""
        either: list[Future[Any]] = [self._wish, future]
        wait(either, timeout_s, return_when=FIRST_COMPLETED)


class Question(Generic[T]):
    """A question that was put in line; its answer is waited for where it is needed."""

    def __init__(self, line: "Line", answer: "Future[T]") -> None:
        self._line = line
        self._answer = answer

    def answer(self) -> T:
        """The answer, or the error that the question ended in. Raises Stopped when the program is to end."""
        return self._line.wait_for(self._answer)


class Line:
    """Asks one question at a time; `meanwhile` is called every `every_s` seconds while one is awaited."""

    def __init__(self, stop: Stop, meanwhile: Callable[[], None], every_s: float) -> None:
        self._stop = stop
        self._meanwhile = meanwhile
        self._every_s = every_s
        self._questions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._ask_in_turn, name="line", daemon=True).start()

    def put(self, ask: Callable[[], T]) -> Question[T]:
        """Puts a question in line."""
        answer: Future[T] = Future()
        self._questions.put(lambda: _settle(answer, ask))
        return Question(self, answer)

    def wait_for(self, answer: "Future[T]") -> T:
        """The answer once it is there, with `meanwhile` called while it isn't."""
        while not answer.done():
            self._stop.wait_with(answer, self._every_s)
            if self._stop.is_set and not answer.done():
                raise Stopped
            if not answer.done():
                self._meanwhile()
        return answer.result()

    def _ask_in_turn(self) -> None:
        while True:
            self._questions.get()()


def _settle(answer: "Future[T]", ask: Callable[[], T]) -> None:
    try:
        answer.set_result(ask())
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the answer is awaited
        answer.set_exception(error)
