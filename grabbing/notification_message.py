"""Text of a notification: a line for what happened together, and the link to the page that shows it.

It holds what the public pages show. Client tags, reasons and titles come from P5 and were redacted when they
were stored; characters by which a chat mentions people, links or formats are replaced.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from urllib.parse import urlencode

from dqmsquare_cfg import EXPERIMENT_ZONE, Cluster
from storage.client_names import client_name
from storage.transitions import RecordedTransition, Thing, Transition, TransitionKind, TransitionState

_MAX_NAMES = 10
_MAX_LINES = 15
_MAX_DETAIL_CHARS = 160
_MAX_TITLE_CHARS = 120
# Invisible characters behind `@` and `:` keep chats from mentioning somebody and from linking an address.
_PLAIN = str.maketrans(
    {"@": "@\u200b", "<": "‹", ">": "›", "`": "'", "|": "¦", "[": "(", "]": ")", "*": "∗", "\n": " "}
)
_PREDICATES: Mapping[str, str] = {
    TransitionState.RUNNING: "runs again",
    TransitionState.FINISHED: "has finished",
    TransitionState.ABSENT: "is not part of the newest run",
    TransitionState.UP: "is up again",
    TransitionState.CURRENT: "is up to date again",
    TransitionState.REMOVED: "was removed from the settings",
    TransitionState.VALID: "is valid again",
    TransitionState.EMPTY: "could all be stored",
    TransitionState.CRASHED: "crashed",
    TransitionState.STUCK: "is stuck",
    TransitionState.LOST: "is lost",
    TransitionState.MISSING: "is missing",
    TransitionState.DOWN: "is down",
    TransitionState.STALE: "is not up to date",
    TransitionState.EXPIRING: "expires soon",
    TransitionState.QUARANTINED: "could not be stored",
}
# Predicates of single kinds, where that of the state does not fit.
_PREDICATES_OF_KIND: Mapping[tuple[TransitionKind, str], str] = {
    (TransitionKind.QUARANTINE, TransitionState.REMOVED): (
        "are no longer retried, since their machine was removed from the settings"
    ),
}
_PLURALS = {"is": "are", "runs": "run", "has": "have", "was": "were"}


@dataclass(frozen=True, slots=True)
class Message:
    """A message in plain text."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class _Event:
    """Text about a thing in a message, without its name; things with the same text share a line.

    `plural` is the text about several things.
    """

    name: str
    text: str
    plural: str
    extra: str


def compose(
    cluster: Cluster,
    happened: Mapping[Thing, Sequence[RecordedTransition]],
    *,
    muted: Iterable[Thing] = (),
    base_url: str,
) -> Message:
    """The message about transitions, by thing; `muted` are things whose problem was muted until now."""
    was_muted = set(muted)
    events = [
        _event(thing, [each.transition for each in transitions], was_muted=thing in was_muted)
        for thing, transitions in happened.items()
        if transitions
    ]
    lines = list(_lines(events))
    shown = lines[:_MAX_LINES]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more")
    times = [each.transition.occurred_at for transitions in happened.values() for each in transitions]
    began = f"{_local(min(times))}" + (f" to {_local(max(times))}" if max(times) != min(times) else "")
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    title = f"DQM² {cluster}: {lines[0].split(' – ')[0]}"[:_MAX_TITLE_CHARS] + more
    link = _link(cluster, happened, base_url)
    return Message(title, "\n".join([*shown, began, *([link] if link else [])]))


def test_message(base_url: str) -> Message:
    """A message for a test of the receivers."""
    link = [f"{base_url}/"] if base_url else []
    return Message("DQM² Mirror: test", "\n".join(["Notifications of the DQM² Mirror arrive here.", *link]))


def _lines(events: Iterable[_Event]) -> Iterator[str]:
    """A line for each group of things with the same text, followed by at most three of its details."""
    in_order = sorted(events, key=lambda event: (event.text, event.name))
    for text, of_text in groupby(in_order, key=lambda event: event.text):
        group = list(of_text)
        names = [event.name for event in group]
        shown = ", ".join(names[:_MAX_NAMES])
        if len(names) > _MAX_NAMES:
            shown += f" and {len(names) - _MAX_NAMES} more"
        predicate = group[0].plural if len(names) > 1 else text
        extras = dict.fromkeys(event.extra for event in group if event.extra)
        count = f"{len(names)} clients: " if len(names) > _MAX_NAMES else ""
        yield " – ".join([f"{count}{shown} {predicate}", *list(extras)[:3]])


def _event(thing: Thing, transitions: Sequence[Transition], *, was_muted: bool) -> _Event:
    last = transitions[-1]
    problems = [each for each in transitions if each.is_problem]
    run = f" in run {last.run}" if last.run is not None else ""
    # Predicates with what follows each of them.
    if last.is_problem:
        times = f" ({len(problems)} times)" if len(problems) > 1 else ""
        parts = [(_predicate(last), f"{run}{times}" + (", muted until now" if was_muted else ""))]
    elif problems:
        first = problems[0]
        of_run = f" in run {first.run}" if first.run is not None else ""
        times = f" {len(problems)} times" if len(problems) > 1 else ""
        parts = [(_predicate(first), f"{times}{of_run}, and "), (_predicate(last), "")]
    else:
        parts = [(_predicate(last), run + (", while it was muted" if was_muted else ""))]
    return _Event(
        _name(thing),
        "".join(f"{predicate}{rest}" for predicate, rest in parts),
        "".join(f"{_plural(predicate)}{rest}" for predicate, rest in parts).replace("it was", "they were"),
        _extra(problems[-1] if problems else last),
    )


def _plural(predicate: str) -> str:
    verb, blank, rest = predicate.partition(" ")
    return f"{_PLURALS.get(verb, verb)}{blank}{rest}"


def _predicate(transition: Transition) -> str:
    of_kind = _PREDICATES_OF_KIND.get((transition.thing.kind, transition.state))
    return of_kind or _PREDICATES.get(transition.state) or f"is {_plain(transition.state)}"


def _name(thing: Thing) -> str:
    match thing.kind:
        case TransitionKind.CLIENT:
            return _plain(client_name(thing.subject))
        case TransitionKind.GATEWAY:
            return "DQM²"
        case TransitionKind.MIRROR if not thing.subject:
            return "the mirror"
        case TransitionKind.MIRROR:
            return f"the mirror of {_plain(thing.subject)}"
        case TransitionKind.CERTIFICATE:
            return "the grid certificate"
        case TransitionKind.QUARANTINE:
            return f"documents of {_plain(thing.subject)}"
    return _plain(thing.subject)


def _extra(transition: Transition) -> str:
    if transition.detail is None:
        return ""
    detail = _plain(transition.detail)[:_MAX_DETAIL_CHARS]
    return f"new: {detail}" if transition.is_new_group else detail


def _plain(text: str) -> str:
    return text.translate(_PLAIN).replace("://", ":\u200b//")


def _local(at: datetime) -> str:
    return f"{at.astimezone(EXPERIMENT_ZONE):%d %b %H:%M:%S}"


def _link(cluster: Cluster, happened: Mapping[Thing, Sequence[RecordedTransition]], base_url: str) -> str:
    """The page that shows what happened: the run of clients, else the cluster; empty without a base."""
    if not base_url:
        return ""
    runs = [each.transition.run for transitions in happened.values() for each in transitions]
    known = [run for run in runs if run is not None]
    if known:
        return f"{base_url}/?{urlencode({'db': cluster.value, 'run': max(known)})}"
    return f"{base_url}/cluster/?{urlencode({'db': cluster.value})}"
