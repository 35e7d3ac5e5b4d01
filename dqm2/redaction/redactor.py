"""Redaction: what is sensitive in a text is replaced by a mark that says what was there (`[host]` …).

The rules are those of docs/data-policy.md, "Redaction of text"; what each kind looks like stands in
`dqm2/redaction/`. All of them are joined into one expression that runs over the text once, in linear time
whatever the text is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from dqm2.redaction.addresses import ADDRESS_RULES
from dqm2.redaction.hosts import host_rules
from dqm2.redaction.key_blocks import KEY_BLOCK_RULES
from dqm2.redaction.linear import linear
from dqm2.redaction.normalization import Part, cleaned, fold
from dqm2.redaction.placeholders import MARKS
from dqm2.redaction.rules_base import Reach
from dqm2.redaction.secrets import SECRET_RULES
from dqm2.redaction.users import USER_RULES

_MARKS = linear(MARKS)
_MARK_START = ord("[")
# Triggers recur (one storage manager's name is on most lines of a log), so what they are is remembered.
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class RedactedText:
    """A text after redaction, and how many parts of it were replaced."""

    text: str
    redactions: int


class Redactor:
    """Takes host names, addresses, users and secrets out of text.

    `hosts` are names to cover besides those that show by their form, in short and long form; `allowed_hosts`
    are names below `cern.ch` that stay.
    """

    def __init__(self, hosts: Iterable[str] = (), allowed_hosts: Iterable[str] = ()) -> None:
        rules = (
            *host_rules(hosts, allowed_hosts),
            *ADDRESS_RULES,
            *USER_RULES,
            *SECRET_RULES,
            *KEY_BLOCK_RULES,
        )
        self._trigger = linear(b"|".join(rule.trigger for rule in rules))
        self._rules = tuple((linear(rule.trigger), rule.reach) for rule in rules)
        self._reaches: dict[bytes, Reach] = {}

    def __call__(self, text: str) -> str:
        """The text after redaction."""
        return self.redact(text).text

    def redact(self, text: str) -> RedactedText:
        """The text after redaction, and how many parts were replaced. Redacting twice changes nothing."""
        text, replaced = cleaned(text), 0
        # A mark can end a name that went on before it, so the result is looked at until nothing is left in
        # it. In all but contrived texts the second look finds nothing, and is much faster than the first.
        while parts := self._sensitive_parts((folded := fold(text)).text):
            text = folded.with_marks(parts)
            replaced += len(parts)
        return RedactedText(text, replaced)

    def _sensitive_parts(self, text: bytes) -> list[Part]:
        found: list[Part] = []
        free = 0  # where what is to be replaced last ends
        resume: int | None = 0
        while resume is not None:
            matches = self._trigger.finditer(text, resume)
            resume = None
            for match in matches:
                start, end = match.span()
                trigger = text[start:end]
                reach = self._reaches.get(trigger) or self._reach(trigger)
                parts = reach(text, free, start, end)
                if not parts:
                    continue
                found += parts
                free = parts[-1].end
                if free > end:
                    resume = free
                    break
        return [part for part in found if text[part.start] != _MARK_START or not _is_marked(text, part)]

    def _reach(self, trigger: bytes) -> Reach:
        """The reach of the rule whose trigger this is; it depends on nothing but the trigger's text."""
        reach = next(reach for pattern, reach in self._rules if pattern.match(trigger))
        if len(trigger) <= _LONGEST_REMEMBERED:
            if len(self._reaches) == _REMEMBERED:
                self._reaches.clear()
            self._reaches[trigger] = reach
        return reach


@lru_cache
def get_redactor(hosts: tuple[str, ...], allowed_hosts: tuple[str, ...]) -> Redactor:
    """The process's redactor for a configuration: compiling the rules takes a few milliseconds."""
    return Redactor(hosts, allowed_hosts)


def _is_marked(text: bytes, part: Part) -> bool:
    marks = _MARKS.match(text, part.start, part.end)
    return marks is not None and marks.end() == part.end
