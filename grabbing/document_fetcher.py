"""A machine's documents, fetched and sifted part by part, ascending by revision.

While one part is written, the next are fetched and sifted. A part that has no good answer is asked for again
in halves, until what spoils it is alone and is set aside; the way that the documents come by is proven before
any of them is blamed. Trouble that goes on beyond that is the machine's, which is then asked more rarely.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from dqm2.errors import Dqm2Failed, Dqm2InvalidResponse
from dqm2.pseudonyms import Pseudonymizer
from dqm2.sync_messages import Header, parse_documents
from grabbing.asking import Asking
from grabbing.document_pipeline import Announced, Order, Sifted
from grabbing.gateway_queue import Question
from storage.log_compression import ZstdDictionary

# Headers whose documents are asked for at once: 50 to 200 reach the full rate of DQM² (protocol, costs).
MOST_AT_ONCE = 200
_FEWEST_AT_FULL_RATE = 50
# How many questions for documents may fail in a row, and for how long, before the machine counts as failing:
# one culprit is found within them, and others can be kept waiting so long.
_MOST_FAILURES = 10
_PATIENCE_S = 5.0
# What no document is called: it is asked for to prove the way.
_NO_DOCUMENT = "no-document-has-this-id"

# Which documents are wanted of some.
Choose = Callable[[Sequence[Announced]], Sequence[Announced]]


@dataclass(frozen=True, slots=True)
class Sifting:
    """Who sifts: an answer is handed over where it came in; what came of it is had by calling what returns.

    `at_once`: of how many headers the documents are asked for at once. `ahead`: how many such parts may be
    under way beyond the one that is waited for.
    """

    hand_over: Callable[[Order], Callable[[], Sifted]]
    at_once: int
    ahead: int


@dataclass(frozen=True, slots=True)
class Part:
    """Headers that follow each other, and what came of those of their documents that were wanted."""

    announced: Sequence[Announced]
    sifted: Sifted


@dataclass(frozen=True, slots=True)
class _Asked:
    announced: Sequence[Announced]
    question: Question[Callable[[], Sifted]] | None

    def sifted(self) -> Sifted:
        return Sifted() if self.question is None else self.question.answer()()

    def withdraw(self) -> None:
        if self.question is not None:
            self.question.withdraw()


class Fetching:
    """Fetches documents of one machine; remembers how many at once its last trouble left standing."""

    def __init__(
        self,
        asking: Asking,
        identities: Pseudonymizer,
        redact: Callable[[str], str],
        dictionary: Callable[[], ZstdDictionary | None],
    ) -> None:
        self._asking = asking
        self._identities = identities
        self._redact = redact
        self._dictionary = dictionary
        self._at_once = MOST_AT_ONCE

    def announced(self, header: Header) -> Announced:
        """A header with the keyed hash of its document."""
        return Announced(header, self._identities.for_document(self._asking.host, header.id))

    def parts(
        self, headers: Sequence[Header], choose: Choose, sifting: Sifting
    ) -> Generator[Part, None, None]:
        """The headers part by part, with the documents that `choose` wants of them.

        Raises Dqm2Error when the machine, or the way to it, is to be left alone for a while; the parts that
        were handed out hold.
        """
        trouble = _Trouble()
        with closing(_Window(headers, sifting.ahead)) as window:
            ask_for = partial(self._ask_for, choose, sifting)
            while asked := window.first(min(self._at_once, sifting.at_once), ask_for):
                try:
                    sifted = asked.sifted()
                except (Dqm2Failed, Dqm2InvalidResponse) as error:
                    window.withdraw()
                    self._at_once = max(1, len(asked.announced) // 2)
                    trouble.bear(error)
                    if len(asked.announced) > 1:
                        continue
                    sifted = self._blamed(asked, error)
                else:
                    self._at_once = min(MOST_AT_ONCE, 2 * self._at_once)
                    trouble.is_over()
                window.settle(asked)
                yield Part(asked.announced, sifted)

    def _ask_for(self, choose: Choose, sifting: Sifting, headers: Sequence[Header]) -> _Asked:
        announced = [self.announced(header) for header in headers]
        wanted = choose(announced)
        if not wanted:
            return _Asked(announced, None)
        ids = [one.header.id for one in wanted]
        host = self._asking.host
        question = self._asking.documents(
            ids, lambda answer: sifting.hand_over(Order(host, wanted, answer, self._dictionary()))
        )
        return _Asked(announced, question)

    def _blamed(self, asked: _Asked, error: Exception) -> Sifted:
        """A document alone without a good answer is set aside, if another question for documents has one."""
        proof = self._asking.documents([_NO_DOCUMENT], partial(parse_documents, requested_ids=()))
        proof.answer()
        reason = self._redact(f"no good answer: {error}")
        return Sifted(set_aside=[one.set_aside(reason) for one in asked.announced])


class _Window:
    """The part of some headers that is under way."""

    def __init__(self, headers: Sequence[Header], ahead: int) -> None:
        self._headers = headers
        self._ahead = ahead
        self._under_way: deque[_Asked] = deque()
        self._begun = self._settled = 0

    def first(self, at_once: int, ask_for: Callable[[Sequence[Header]], _Asked]) -> _Asked | None:
        """The first part that is not settled, with those behind it asked for; `None` at the end."""
        while self._begun < len(self._headers) and len(self._under_way) <= self._ahead:
            left = len(self._headers) - self._begun
            # The last parts get smaller: while the very last is sifted there is nothing to do beside.
            size = min(at_once, max(_FEWEST_AT_FULL_RATE, left // 2))
            part = self._headers[self._begun : self._begun + size]
            self._under_way.append(ask_for(part))
            self._begun += len(part)
        return self._under_way.popleft() if self._under_way else None

    def settle(self, asked: _Asked) -> None:
        """A part is done with; where all were withdrawn, what follows it is next."""
        self._settled += len(asked.announced)
        self._begun = max(self._begun, self._settled)

    def withdraw(self) -> None:
        """Takes back what is under way: it will be asked for anew."""
        for asked in self._under_way:
            asked.withdraw()
        self._under_way.clear()
        self._begun = self._settled

    close = withdraw


class _Trouble:
    """How many questions in a row have failed, and since when."""

    def __init__(self) -> None:
        self._failures = 0
        self._since_s = 0.0

    def bear(self, error: Exception) -> None:
        """Takes a failure; raises it when it was too much."""
        now_s = time.monotonic()
        if self._failures == 0:
            self._since_s = now_s
        self._failures += 1
        if self._failures > _MOST_FAILURES or now_s - self._since_s > _PATIENCE_S:
            raise error

    def is_over(self) -> None:
        """A question had a good answer."""
        self._failures = 0
