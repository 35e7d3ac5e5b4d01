"""What can be had of a machine whose answer to all headers is too long for the gateway.

A relayed answer must begin within 5 s, and no question bounds it from above (protocol, "Reading documents").
So ever higher revisions are asked from until an answer comes: the newest documents are what counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

from dqm2.errors import Dqm2Failed, Dqm2ResponseTooLarge
from dqm2.sync_messages import Headers

# What an answer that is too long ends in.
TOO_LONG = (Dqm2Failed, Dqm2ResponseTooLarge)
# A revision that no machine reaches. What is asked from there is answered at once, if there is an answer.
_BEYOND_ALL = 2**62

Ask = Callable[[int | None], Headers]


@dataclass(frozen=True, slots=True)
class Reached:
    """The headers from `revision` on, where those from below can't be had."""

    revision: int
    headers: Headers


def refuse_silent(ask: Ask) -> None:
    """Asks what takes no time to answer. Raises Dqm2Error if a machine doesn't answer even that."""
    ask(_BEYOND_ALL)


def newest(ask: Ask, too_long_from: int) -> Reached:
    """The newest headers of a machine whose answer from `too_long_from` on is too long.

    More than half of the revisions that can be had are; each further one may cost the gateway 5 s. Raises
    Dqm2Error if the machine stops answering meanwhile.
    """
    reached: Reached | None = None
    low, high = too_long_from, _BEYOND_ALL
    while high - low > 1:
        middle = _between(low, high)
        try:
            headers = ask(middle)
        except TOO_LONG:
            refuse_silent(ask)
            low = middle
            continue
        high = middle
        if headers.headers:
            reached = Reached(middle, headers)
            if middle - low <= headers.headers[-1].revision - middle:
                break
    if reached is None:
        raise Dqm2Failed("no headers can be had, however few are asked for")
    return reached


def _between(low: int, high: int) -> int:
    """The middle, by size while the two are far apart: then it takes few steps from nothing to 2**62."""
    low = max(low, 1)
    return isqrt(low * high) if high > 4 * low else (low + high) // 2
