"""Redactor: replaces what is sensitive in a text by placeholders that say what was there (`[host]` …).

The rules are those of docs/data-policy.md, "Redaction of text"; each kind has a module. Their triggers form
one expression that runs over the text once, in linear time whatever the text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from dqm2.linear_patterns import compile_linear, compile_search
from dqm2.redaction.addresses import ADDRESS_RULES
from dqm2.redaction.command_arguments import COMMAND_ARGUMENT_RULES
from dqm2.redaction.command_options import COMMAND_OPTION_RULES
from dqm2.redaction.file_lines import redact_file_lines
from dqm2.redaction.hosts import host_rules
from dqm2.redaction.key_blocks import KEY_BLOCK_RULES
from dqm2.redaction.normalization import NormalizedText, normalize, strip_controls
from dqm2.redaction.rules_base import PLACEHOLDERS, Placeholder, Rule, Span, line_end
from dqm2.redaction.secrets import SECRET_RULES
from dqm2.redaction.table_lines import TABLE_LINE_RULES
from dqm2.redaction.user_messages import USER_MESSAGE_RULES
from dqm2.redaction.user_password_pairs import USER_PASSWORD_RULES
from dqm2.redaction.user_places import USER_PLACE_RULES
from dqm2.redaction.users import USER_RULES

# A replacement can turn the text before it into a name of its own, so passes repeat until nothing is found.
# Two are enough for every log seen; only contrived text needs more than these.
MAX_PASSES = 4

_PLACEHOLDERS = compile_linear(PLACEHOLDERS)
_PLACEHOLDER_START = ord("[")
# Triggers recur (one host name is in most lines of a log), so the rule of each is remembered.
_CACHE_SIZE = 4096
_MAX_CACHED_LENGTH = 64


@dataclass(frozen=True, slots=True)
class RedactedText:
    """Text after redaction, the number of parts that were replaced, and the number of passes it took."""

    text: str
    redactions: int
    passes: int = field(default=1, compare=False)


class Redactor:
    """Replaces host names, addresses, users and secrets in text. Safe for use by several threads.

    `hosts` are names to cover in addition to those recognized by their form, in short and long form;
    `allowed_hosts` are names below `cern.ch` that are left.
    """

    def __init__(self, hosts: Iterable[str] = (), allowed_hosts: Iterable[str] = ()) -> None:
        rules = (
            *host_rules(hosts, allowed_hosts),
            *ADDRESS_RULES,
            *COMMAND_OPTION_RULES,
            *COMMAND_ARGUMENT_RULES,
            *USER_PASSWORD_RULES,
            *SECRET_RULES,
            *USER_RULES,
            *USER_PLACE_RULES,
            *USER_MESSAGE_RULES,
            *TABLE_LINE_RULES,
            *KEY_BLOCK_RULES,
        )
        literals = sum(rule.literals for rule in rules)
        self._trigger = compile_search(b"|".join(rule.trigger for rule in rules), literals)
        self._rules = tuple((compile_linear(rule.trigger, rule.literals), rule) for rule in rules)
        self._rule_cache: dict[bytes, Rule] = {}

    def __call__(self, text: str) -> str:
        """The text after redaction."""
        return self.redact(text).text

    def redact(self, text: str) -> RedactedText:
        """Redact a text. Redacting the result again changes nothing."""
        text, redactions = redact_file_lines(strip_controls(text))
        for passes in range(1, MAX_PASSES + 1):
            normalized = normalize(text)
            spans = self._find(normalized.text)
            if not spans:
                return RedactedText(text, redactions, passes)
            text = normalized.replace(spans)
            redactions += len(spans)
        return self._omit_lines(text, redactions)

    def _omit_lines(self, text: str, redactions: int) -> RedactedText:
        """Omit the lines that still hold something after all passes; failing that, the whole text."""
        normalized = normalize(text)
        lines = _whole_lines(normalized, self._find(normalized.text))
        text = normalized.replace(lines)
        if self._find(normalize(text).text):
            return RedactedText(Placeholder.OMITTED, redactions + 1, MAX_PASSES + 2)
        return RedactedText(text, redactions + len(lines), MAX_PASSES + 2)

    def _find(self, text: bytes) -> list[Span]:
        """Spans to replace in a normalized text; those that are placeholders already are left out.

        A rule that finds nothing but placeholders does not apply: what is between them is searched.
        """
        spans: list[Span] = []
        min_start = 0
        search, rules = self._trigger, self._rule_cache
        start, end = search(text, 0)
        while start >= 0:
            trigger = text[start:end]
            rule = rules.get(trigger) or self._rule(trigger)
            found = rule.expand(text, min_start, start, end)
            if found:
                found = _unreplaced(text, found)
            position = end
            if found:
                spans += found
                min_start = found[-1].end
                position = max(end, min_start)
            elif rule.resume:
                position = rule.resume(text, start)
            start, end = search(text, position)
        return spans

    def _rule(self, trigger: bytes) -> Rule:
        """The rule of a trigger; it depends on the trigger's text alone."""
        rule = next(rule for pattern, rule in self._rules if pattern.match(trigger))
        if len(trigger) <= _MAX_CACHED_LENGTH:
            if len(self._rule_cache) >= _CACHE_SIZE:
                self._rule_cache.clear()
            self._rule_cache[trigger] = rule
        return rule


@lru_cache
def get_redactor(hosts: tuple[str, ...], allowed_hosts: tuple[str, ...]) -> Redactor:
    """The process's redactor for a configuration; compiling its rules takes about 50 ms."""
    return Redactor(hosts, allowed_hosts)


def _unreplaced(text: bytes, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """The spans that are not placeholders already."""
    for span in spans:
        if text[span.start] == _PLACEHOLDER_START:
            return tuple(span for span in spans if not _is_placeholder(text, span))
    return spans


def _is_placeholder(text: bytes, span: Span) -> bool:
    match = _PLACEHOLDERS.match(text, span.start, span.end)
    return match is not None and match.end() == span.end


def _whole_lines(normalized: NormalizedText, spans: Iterable[Span]) -> list[Span]:
    """The lines that contain the spans, each as one span."""
    text = normalized.text
    lines: list[Span] = []
    for span in spans:
        if lines and span.end <= lines[-1].end:
            continue
        start = text.rfind(b"\n", 0, span.start) + 1
        if lines and start < lines[-1].end:
            start = lines.pop().start
        lines.append(Span(start, line_end(text, span.end), Placeholder.OMITTED))
    return lines
