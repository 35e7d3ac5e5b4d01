"""Extent of the value behind a key such as `password=`: quoted or not, in brackets, in JSON within JSON."""

import re
from functools import lru_cache

from dqm2.linear_patterns import compile_linear
from dqm2.redaction.key_blocks import BLOCK_START
from dqm2.redaction.rules_base import PLACEHOLDERS, line_end

# Closing quote of a key, with the backslashes that JSON within JSON puts before it.
KEY_QUOTE = rb'(?:\\*["\'])?'
# From a key to its value: `x = `, `"x": `, `['x'] = `, `[x]=`. Config dumps align values with any number of
# blanks.
SEPARATOR = rb"(?:\\*[\"'][\])]?|\])?[ \t]*(?:=>|==?|:=|:)[ \t]*"
# Opening quote, behind what Python, C++ or a CMSSW configuration may put between `=` and a text: b'…',
# std::string("…"), cms.untracked.string('…').
_BEFORE_QUOTE = rb"(?:[A-Za-z_][A-Za-z_.:]{0,40}\([ \t]{0,8})?(?:[bBrRuUfF]{1,2})?"
_OPENING_QUOTE = re.compile(_BEFORE_QUOTE + rb'\\{0,16}(?:"""|\'\'\'|["\'`])')
_QUOTES = b"\"'`"
_QUOTE_STARTS = (b'"', b"'", b"`", b"\\")

# Most values are a word of ordinary characters up to a blank and need no closer look.
_PLAIN_WORD = re.compile(rb"[A-Za-z0-9_./+~^!$*%#@=-]++(?:\s|\Z)")
# A quote in the middle of a word belongs to it.
_WORD = compile_linear(rb'(?:[^\s"\'`<]|["\'`]+[A-Za-z0-9]|<[^/\s])+')
# Schemes of an Authorization header.
_SCHEMES = (b"basic", b"bearer", b"digest", b"negotiate", b"token", b"apikey", b"ntlm")
_SCHEME = re.compile(rb"(?i:(?:" + b"|".join(_SCHEMES) + rb")[ \t]{1,8})")
# The next value of a list ends a word: password=…,user=…
_NEXT = rb"[,;&](?:[A-Za-z_]{1,32}|\[[a-z]+\])="
_NEXT_VALUE = compile_linear(_NEXT)
# Placeholders in place of a value.
_REDACTED = re.compile(PLACEHOLDERS + rb"(?:" + _NEXT + rb"|[,;:.)}\]>\\]{0,8}(?:[\s\"'<]|\\{1,8}[nrt]|\Z))")
_MIN_BLOCK = len("----BEGIN KEY")
# Quotes within a header's value follow `=`; any other quote ends it.
_HEADER = compile_linear(rb'(?:=\\{0,16}["\'][^"\'\n\\]*(?:\\{0,16}["\'])?|[^\n"\'\\]|\\+[^\\nr"\'])+')
_BRACKET = compile_linear(rb"[\[\](){}\n]")
_OPENING_BRACKETS = (b"[", b"(", b"{")
_CLOSING = {b"]": b"[", b")": b"(", b"}": b"{", b">": b"<"}
_PUNCTUATION = b",;:.\\"
_TRIMMED = _PUNCTUATION + b"".join(_CLOSING)
# A certificate with its password; not the scheme of a URL.
_CERTIFICATE = re.compile(
    rb"(?P<quote>[\"'])(?:\\.|(?!(?P=quote))[^:\n\\]){1,255}:(?!//)(?P<quoted>(?:(?!(?P=quote))[^\n]){1,128})"
    rb"|(?:\\.|[^\s\"':\\]){1,255}:(?!//)(?P<word>[^\s\"']{1,128})"
)
# Characters behind the closing quote of a text of several lines.
_DELIMITERS = b" \t\n,;)}]"
# How far a bracket, a quote or the next value of a list may be; beyond, the whole word or line is the value.
_WINDOW = 1024
_MULTILINE_WINDOW = 512

# Words that begin a sentence or state a fact rather than being a value. A word without digits that another
# word follows begins a sentence, unless that is the next key.
_SENTENCE = re.compile(rb"[A-Za-z][a-z]{0,32}(?:'[a-z]{1,2})?[ \t]+[\"'(<\[]?[A-Za-z]")
_NEXT_KEY = re.compile(rb"[A-Za-z'-]{1,36}[ \t]+[A-Za-z_.-]{1,32}[\"']?[ \t]{0,8}[=:]")
_STATES = (
    rb"(?i:none|null|nil|true|false|yes|no|ok|unknown|undefined|empty|unset|missing|required|invalid|incorrect"
    rb"|wrong|expired|denied|rejected|refused|accepted|failed|failure|enabled|disabled|present|absent|found)"
)
# The same, or a few signs such as `', '`, as the whole of a quoted text to which no other text is joined.
_STATE = re.compile(
    _STATES
    + rb"(?:[\s.,;)\]}!]|\Z)|"
    + _BEFORE_QUOTE
    + rb"(?P<level>\\{0,16})(?P<quote>[\"'`])(?:"
    + _STATES
    + rb"|[ !#-&(-/:-@[\]-_{-~]{1,3})(?P=level)(?P=quote)"
    + rb"(?:\.join\(|(?=[\s,;)\]}]|\Z)(?![ \t]*[+%\"'`]))"
)
# Nothing but quotes and brackets up to a blank.
_ENDING = rb"(?=[,;)\]}\"']{0,8}(?:\s|\Z))"
# In place of a value: variables of a shell, places of a format, and what openssl reads: $PASSWORD,
# ${PASSWORD}, %s, {}, stdin.
_STAND_IN = rb"(?:\$(?:[A-Z_]{3,}|\{[A-Za-z_]{3,}\})|%s|\{\}|stdin)" + _ENDING
_IS_STAND_IN = re.compile(_STAND_IN)
# Source code in place of a value: a call or template, a subscript, an attribute, a type with its default.
_CODE = re.compile(
    rb"[A-Za-z_][A-Za-z0-9_.:]{0,80}(?:<[A-Za-z]|\((?:[^\"'`\\ bruf]|\Z|[bruf][^\"'])|\[\\{0,16}[\"'])"
    rb"|(?:self|args|cfg|config|settings|options|opts|params|this)(?:\.|->)[A-Za-z_]"
    rb"|(?:str|bytes)(?:[ \t]{0,4}\|[ \t]{0,4}None)?[ \t]{0,4}[=,)]"
    rb"|(?:typing\.)?(?:Dict|List|Optional|Sequence|Union)\[(?:str|bytes)[\],]"
    # The argument of these is the name of the value: get("password"), prompt("Password: ").
    rb"|(?:[A-Za-z_][A-Za-z0-9_]{0,40}(?:\.|->|::)){0,4}(?:get[A-Za-z]{0,12}|pop|prompt|input)\("
    rb"(?P<quote>[\"'])(?i:[A-Za-z_. -]{0,32}(?:pass(?:word|wd|phrase)?|pwd|secret|token|key|cookie|login"
    rb"|owner|user(?:[_-]?name)?)):?[ ]?(?P=quote)[ \t]{0,4}[,)]"
    rb"|" + _STAND_IN
)
# The closing quote of a text that a variable follows, `"user=" + user`.
_TEXT_END = re.compile(rb"\\{0,16}([\"'])[ \t]{0,4}[+,;%)](?=[\s,;)]|\Z)(?![ \t,;)]*[bBrRuUfF]{0,2}[\"'])")
_LINE_WINDOW = 256
# A call that takes the name of a module or product of CMSSW, or gives a handle of its event.
_FRAMEWORK_CALL = re.compile(
    rb"(?:[A-Za-z_]{1,20}(?:\.|::|->)){0,4}(?:V?InputTag|ESInputTag|(?:es)?[cC]onsumes[A-Za-z]*|mayConsume"
    rb"|(?:es)?[pP]roduces|E[DS](?:Get|Put)Token\w*)[ \t]{0,4}[<(]"
)
# A variable or attribute in place of a value, a part of it, in braces within a text: `token`, `request.user`,
# `key[16:]`, `{user!r}`.
_VARIABLE = re.compile(
    rb"\{?((?:[A-Za-z_][A-Za-z0-9_]{0,40}(?:\.|->|::)){0,4})([A-Za-z_][A-Za-z0-9_]{0,63})(?:![rsa])?\}?"
    rb"(?:\[-?[0-9]{0,4}:?-?[0-9]{0,4}\])?" + _ENDING
)
# Objects of which a user or secret is an attribute.
_OBJECTS = frozenset(
    b"app args auth cfg client cls config context ctx event handler job kwargs options opts params req "
    b"request response self session settings this user".split()
)
_JOINTS = re.compile(rb"\.|->|::")
# Attributes of a user or token: `lambda user: user.name`.
_PARTS = (b"name", b"id", b"email", b"value")
# Names recur in every log.
_CACHE_SIZE = 1024
_NAME_JOINTS = re.compile(rb"[^A-Za-z0-9_]+")


def value_span(text: bytes, at: int) -> tuple[int, int]:
    """Start and end of the value at `at`; empty if there is none. A PEM block in the value ends it."""
    if text[at : at + 1] == b"[" and _REDACTED.match(text, at):
        return at, at
    if text[at : at + 1] not in _QUOTE_STARTS and (plain := _PLAIN_WORD.match(text, at)):
        word = plain[0].rstrip()
        if word.lower() not in _SCHEMES and not word.startswith(b"----"):
            return at, _trimmed_end(text, at, at + len(word))
    start, end = quoted_span(text, at) or (at, _unquoted_end(text, at))
    if end - start < _MIN_BLOCK:
        return start, end
    block = BLOCK_START.search(text, start, end)
    return start, block.start() if block else end


def header_span(text: bytes, at: int) -> tuple[int, int]:
    """Start and end of a header's value (`Cookie: a=b; c=d`): to the end of line or quotes."""
    if text[at : at + 1] in _OPENING_BRACKETS or _OPENING_QUOTE.match(text, at):
        return value_span(text, at)
    header = _HEADER.match(text, at)
    return at, at + len(header[0].rstrip()) if header else at


def quoted_span(text: bytes, at: int) -> tuple[int, int] | None:
    """Start and end of the text whose opening quote is at `at`; `None` if there is no quote.

    Without a closing quote it extends to the end of the line.
    """
    opening = _OPENING_QUOTE.match(text, at)
    if not opening:
        return None
    start = opening.end()
    before = opening[0].rstrip(_QUOTES)
    quote = text[at + len(before) : start]
    level = len(before) - len(before.rstrip(b"\\"))
    newline = text.find(b"\n", start, start + _WINDOW)
    end = _closing_quote(text, quote, level, start, start + _WINDOW if newline < 0 else newline)
    if end < 0 <= newline:
        end = _closing_quote(text, quote, level, newline, start + _MULTILINE_WINDOW)
        behind = end + level + len(quote)
        if end >= 0 and text[behind : behind + 1] not in _DELIMITERS:
            end = -1
    return start, end if end >= 0 else line_end(text, start)


def certificate_password(text: bytes, at: int) -> tuple[int, int] | None:
    """Start and end of the password behind the file of a certificate, `FILE:PASSWORD`, at `at`; or `None`."""
    certificate = _CERTIFICATE.match(text, at)
    return certificate.span(certificate.lastgroup or 0) if certificate else None


def is_sentence(text: bytes, at: int) -> bool:
    """Whether a sentence, not a value, begins at `at`: a word that others follow, or that states a fact."""
    if _STATE.match(text, at):
        return True
    return _SENTENCE.match(text, at) is not None and not _NEXT_KEY.match(text, at)


def is_code(text: bytes, at: int) -> bool:
    """Whether source code is at `at` in place of a value, as in the lines of a traceback."""
    return _CODE.match(text, at) is not None or _closes_text(text, at)


def _closes_text(text: bytes, at: int) -> bool:
    """Whether the quote at `at` ends a text that began in the same line."""
    closing = _TEXT_END.match(text, at)
    if not closing:
        return False
    first = max(0, at - _LINE_WINDOW)
    return text.count(closing[1], max(first, text.rfind(b"\n", first, at)), at) % 2 == 1


def is_stand_in(text: bytes, at: int) -> bool:
    """Whether a variable of a shell or a place of a format is at `at` in place of a value."""
    return _IS_STAND_IN.match(text, at) is not None


def is_framework_call(text: bytes, at: int) -> bool:
    """Whether a call of CMSSW that involves no value is at `at`, such as `cms.InputTag("x")`."""
    return _FRAMEWORK_CALL.match(text, at) is not None


def is_named_alike(text: bytes, at: int, name: bytes, word: bytes) -> bool:
    """Whether a variable is at `at` that is named after the key `name`, as in `self.token = token`.

    `word` is the part of the key that says what the value is. An attribute needs no more in common with it:
    `token = request.access_token`.
    """
    variable = _VARIABLE.match(text, at)
    if not variable:
        return False
    key = _key(name)
    path, last = variable[1].lower(), variable[2].strip(b"_").lower()
    if path == b"":
        return last == key
    is_attribute = _JOINTS.split(path)[0].strip(b"_") in _OBJECTS and last.endswith(word)
    return is_attribute or (path == key + b"." and last in _PARTS)


@lru_cache(_CACHE_SIZE)
def _key(name: bytes) -> bytes:
    return _NAME_JOINTS.split(name)[-1].strip(b"_").lower()


def is_state(text: bytes, at: int) -> bool:
    """Whether the word at `at` states a fact (`none`, `missing`) rather than being a value."""
    return _STATE.match(text, at) is not None


def _closing_quote(text: bytes, quote: bytes, level: int, start: int, limit: int) -> int:
    """Position of a quote behind no more backslashes than the opening one has; -1 if there is none."""
    at = text.find(quote, start, limit)
    while at >= 0:
        backslashes = at - start - len(text[start:at].rstrip(b"\\"))
        if backslashes <= level or (level == 0 and backslashes % 2 == 0):
            return at - min(backslashes, level)
        at = text.find(quote, at + 1, limit)
    return -1


def _unquoted_end(text: bytes, at: int) -> int:
    if text[at : at + 1] in _OPENING_BRACKETS:
        at = _bracket_end(text, at)
    elif scheme := _SCHEME.match(text, at):
        at = scheme.end()
    following = _NEXT_VALUE.search(text, at, at + _WINDOW)
    word = _WORD.match(text, at, following.start() if following else None)
    return _trimmed_end(text, at, word.end()) if word else at


def _bracket_end(text: bytes, start: int) -> int:
    depth = 0
    for bracket in _BRACKET.finditer(text, start, start + _WINDOW):
        if bracket[0] == b"\n":
            break
        depth += 1 if bracket[0] in b"[({" else -1
        if depth == 0:
            return bracket.end()
    return line_end(text, start)


def _trimmed_end(text: bytes, start: int, end: int) -> int:
    """The end without punctuation and brackets that belong to the sentence rather than to the value."""
    if end > start and text[end - 1] not in _TRIMMED:
        return end
    value = text[start:end]
    unopened = {closing: value.count(closing) - value.count(opening) for closing, opening in _CLOSING.items()}
    while end > start:
        last = text[end - 1 : end]
        if unopened.get(last, 0) > 0:
            unopened[last] -= 1
        elif last not in _PUNCTUATION:
            break
        end -= 1
    return end
