"""The one line to the gateway: a question at a time, and a program that stays awake while it waits.

The gateway serves nobody else while it works on a question, so a grabber has at most one in flight
(protocol, "The way in"). Questions are asked on a thread of their own, which ends with the program whatever
it waits for: no slow or hanging gateway keeps a grabber from its heartbeat, or from ending in time.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
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

    def wait_with(self, future: Future[T], timeout_s: float | None) -> None:
        """Waits for `future`, or until the program is to end; so long at most, if that is given."""
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

    def withdraw(self) -> None:
        """Takes the question back, unless it is being asked already."""
        self._answer.cancel()


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
        self._questions.put(partial(settle, answer, ask))
        return Question(self, answer)

    def wait_for(self, answer: "Future[T]") -> T:
        """The answer once it is there, with `meanwhile` called while it isn't. Raises Stopped."""
        while not answer.done():
            self._stop.wait_with(answer, self._every_s)
            if not answer.done():
                self.look_up()
        return answer.result()

    def look_up(self) -> None:
        """What is to be done now and then in a long piece of work: `meanwhile`. Raises Stopped."""
        if self._stop.is_set:
            raise Stopped
        self._meanwhile()

    def _ask_in_turn(self) -> None:
        while True:
            self._questions.get()()


def settle(future: "Future[T]", work: Callable[[], T]) -> None:
    """Does the work that a future is of, unless that was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where it is waited for
        future.set_exception(error)
