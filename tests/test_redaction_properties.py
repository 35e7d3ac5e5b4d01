"""Redaction of any text is stable, covers all spellings, and takes bounded work on the worst input."""

import html
import json
import os
import random
from collections.abc import Callable
from unittest.mock import patch
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import proc_usage
from dqm2.redaction.redactor import MAX_PASSES, RedactedText, Redactor
from tests.examples import core_of, examples, long

REDACT = Redactor(("dqmfu-c2b03-45-01", "gateway7", "mirror.example.org"))

MAX_GROWTH_MB = 16

# Pieces of what the rules look for; joined at random they overlap and nest.
PIECES = (
    *("fu-c2f11-11-01", "-c2b03-45-01", "cmsvm1", ".cms", ".cern.ch", "cmsweb", "gateway7", "host", "foo"),
    *("10.0.0.1", "2001:db8::1", "1:2:3:4:5:6:7:8", "mirror.example.org", "@", ".x", "://", "/home/", "/"),
    *(
        "user",
        "uid",
        "password",
        "--token",
        "cookie",
        "Authorization",
        "Basic ",
        "Bearer ",
        "pwd",
        "krb5cc_1",
    ),
    *(
        "runUniqueKey",
        "frontierKey ",
        "eyJhbGciOiJIUzI1NiJ9abc",
        "AKIAIOSFODNN7EXAMPLE",
        "x=",
        "v",
        "a",
        "b1",
    ),
    *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "MIIEabc", "[secret]", "[host]", "[key]"),
    *("=", ":", "=>", ",", ";", "&", " ", "  ", "\t", "\n", "\\n", '\\"', '"', "'", "`", "\\", "[user]:"),
    *("(", ")", "[", "]", "{", "}", "<", ">", "-", "_", ".", "%2D", "%3D", "%40", "\\u002d", "1"),
    *(
        "\u00e9",
        "\uff11",
        "\u0441",
        "\u200b",
        "\ud800",
        "\x00",
        "\x1b[0m",
        "\x1b]0;t\x07",
        "e\u0301",
        "&quot;",
    ),
    *(
        "pass",
        "pw=",
        "DB_PASSWORD_01",
        "Token: ",
        "getByToken: Found",
        "[omitted]",
        "['x']",
        " = ",
        "version ",
    ),
    *(
        "CN=",
        "/CN=jdoe",
        "sqlplus u/p@db",
        "@cms_omds_lb",
        "-u a:b",
        " login x password y",
        "@lxplus1",
        "ssh ",
    ),
    *(
        "/store/user/",
        "/cvmfs/",
        "2001:",
        "::",
        "::ffff:10.1.2.3",
        "v1.2.3.4",
        "user 'x'",
        "glpat-" + "a" * 20,
    ),
    *("hooks.slack.com/services/", "HOSTNAME=", "KCM:1", "[2001-1458-d00-b--1]", "abc.cms", "identified by "),
    *("a 1 2 3 13:07", " ? 0:01", " pts/0 ", "cron[1]: (a)", ":5432:x:y:z", "a:x:1234:", " gid=1(a)", "~a/"),
    *("/tmp/abcd/", "github.com/a/cms", " | 2022-09-15 ", "r1 | a", "LISTEN      ab         12 ", " by: abc"),
    *(
        " R 0:12 ",
        "1 a b c",
        "echo a | su",
        "htpasswd -b a b c",
        "zip -Pab",
        ".1:2@[::1]",
        " name=ab",
        "Ab Cd <",
    ),
    *(
        "kinit <<< ab",
        "xfreerdp /p:a ",
        "net use a /user:b ",
        "useradd -p a b",
        "u:ab:r",
        "-cert a:b ",
        "-x a:b@",
    ),
    *(
        "rabbitmqctl add_user a b ",
        "setfacl -m u:a ",
        " rlidwka",
        "mgm.sec=a|b|c|",
        "user is ",
        ".login('a', 'b",
    ),
    *("1(a)", "su: + ", "a:b", " 9/15 13:07 ", " 1 REG ", "curl -b a=b", "chown a:b", "From: A <"),
)
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.text(st.characters(), max_size=60),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=10).map("".join),
)


# Lines of CMSSW's input source, which are redacted before the rules run.
STREAMS = st.sampled_from(("streamDQM", "streamDQMGPUvsCPU", "streamDQMOnlineBeamspot", "streamOther"))
EVENTS = st.sampled_from(
    (
        "Found and loaded json file:",
        "Initiating request to open file",
        "Successfully opened file",
        "Closed file",
        "Deleted file",
        "Found and skipped json file (stream label mismatch, streamDQM [files] != streamDQM [config]):",
    )
)
FILE_LINES = st.builds(
    "29-Nov-2026 16:30:15 {zone}  {event} /fff/BU0/ramdisk/"
    "run{run}/run{run}_ls{ls:04}_{stream}_{host}{end}".format,
    zone=st.sampled_from(("UTC", "CET", "CEST")),
    event=EVENTS,
    run=st.integers(100_000, 999_999),
    ls=st.integers(0, 9999),
    stream=STREAMS,
    host=st.sampled_from(("sm-c2a11-43-01", "mrg-c2f12-27-01", "dqmrubu-c2a06-01-01", "fu-c2f11-11-01")),
    end=st.sampled_from((".jsn", ".dat", ".dat.cms", ".dat password=x")),
)
# Both are within the window in which the end of a quoted text is looked for.
NEIGHBOURS = TEXTS.map(lambda text: text[:130])


@settings(max_examples=examples(300))
@given(NEIGHBOURS, FILE_LINES, NEIGHBOURS)
def test_it_redacts_names_of_files_as_the_rules_alone_do(before: str, line: str, after: str) -> None:
    text = f"{before}\n{line}\n{after}"
    redacted = REDACT(text)
    with patch("dqm2.redaction.redactor.redact_file_lines", lambda text: (text, 0)):
        assert redacted == REDACT(text)


@settings(max_examples=examples(1000))
@given(TEXTS)
def test_it_changes_nothing_the_second_time(text: str) -> None:
    once = REDACT(text)
    again = REDACT.redact(once)
    assert (again.text, again.redactions) == (once, 0)


@pytest.mark.parametrize("texts", [50, long(400)])
def test_its_memory_is_bounded_whatever_it_searches(texts: int) -> None:
    rng = random.Random(1)
    redact = Redactor()
    # A first text, so that what is allocated once does not count.
    redact("".join(PIECES))
    before = proc_usage.rss_mb(os.getpid())
    for _ in range(texts):
        redact(
            "".join(
                rng.choice(PIECES)[: rng.randrange(1, 20)] + chr(rng.randrange(33, 127)) for _ in range(300)
            )
        )
    assert proc_usage.rss_mb(os.getpid()) - before < MAX_GROWTH_MB


LONG_NAME = "{:02d}{:02d}" + "-site" * 11


@pytest.mark.parametrize("name", core_of(["dqmfu-c2b{:02d}-{:02d}-01", "gateway{}{}", LONG_NAME], LONG_NAME))
def test_its_automaton_has_room_for_a_thousand_hosts(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    hosts = tuple(name.format(*divmod(number, 100)) for number in range(1000))
    redact = Redactor(hosts)
    assert redact(f"{hosts[0]} {hosts[-1]}.cms") == "[host] [host]"
    for piece in PIECES:
        redact(f"{piece} {''.join(PIECES)}")
    # Otherwise RE2 reports that it falls back to a slower engine.
    assert "out of memory" not in capfd.readouterr().err


class CountingRedactor(Redactor):
    """Redactor that counts the bytes in which it looks for triggers; a search may go back a little."""

    def __init__(self) -> None:
        super().__init__(("dqmfu-c2b03-45-01", "gateway7"))
        self.searched = 0
        search = self._trigger

        def counted(text: bytes, position: int) -> tuple[int, int]:
            start, end = search(text, position)
            self.searched += (len(text) if start < 0 else end) - position
            return start, end

        self._trigger = counted


COUNTING = CountingRedactor()

# Searches of a byte in each pass: the next one may begin within a trigger that does not apply.
MAX_SEARCHES = 16


def redact_with_few_searches(text: str) -> RedactedText:
    """Redact a text, and check that the search for triggers grows with its length only."""
    COUNTING.searched = 0
    redacted = COUNTING.redact(text)
    assert COUNTING.searched <= MAX_SEARCHES * redacted.passes * len(text)
    return redacted


UNITS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=40).map("".join),
    st.text("a1:.@=-/\"' p\\%", min_size=1, max_size=12),
    st.sampled_from(["abc.cms", "Token: ", "a@b.c", "10.0.0.1", "1:2:3:4:5:6:7:8", "gateway7", "password=a"]),
).map(lambda unit: unit[:300])


@settings(max_examples=examples(400))
@given(UNITS)
def test_it_takes_bounded_work_on_periodic_text(unit: str) -> None:
    text = unit * (8192 // len(unit))
    redacted = redact_with_few_searches(text)
    assert redacted.passes <= MAX_PASSES + 2
    assert COUNTING(redacted.text) == redacted.text


def test_it_omits_the_lines_that_passes_do_not_exhaust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dqm2.redaction.redactor.MAX_PASSES", 0)
    text = 'before\nfu-c2f11-11-01\nbetween\npassword="two\nlines", fu-c2f11-11-01 a@b.org\nafter'
    redacted = REDACT.redact(text)
    assert redacted.text == "before\n[omitted]\nbetween\n[omitted]\nafter"
    assert redacted.redactions == 2


@settings(max_examples=examples(300))
@given(TEXTS)
def test_it_writes_what_any_database_and_page_can_hold(text: str) -> None:
    redacted = REDACT(text)
    redacted.encode()
    assert not set(redacted) & {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}


LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=8, max_size=12)
NUMBERS = st.integers(10, 99)

# A text of each kind around a canary, which must not be left.
KINDS: dict[str, Callable[[str, int], tuple[str, str]]] = {
    "P5 host": lambda _, n: (f"fu-c2f{n}-{n}-01", f"c2f{n}-{n}-01"),
    "host in a file name": lambda _, n: (f"run1_streamDQM_sm-c2a{n}-{n}-01.jsn", f"sm-c2a{n}"),
    "host below .cms": lambda word, _: (f"{word}.cms", word),
    "host below .cern.ch": lambda word, _: (f"{word}.cern.ch", word),
    "host of the configuration": lambda _, __: ("http://gateway7:9215/", "gateway7"),
    "IPv4": lambda _, n: (f"10.176.{n}.{n}", f"176.{n}.{n}"),
    "IPv6": lambda _, n: (f"2001:1458:{n}::{n}:1", f"1458:{n}::{n}"),
    "home folder": lambda word, _: (f"/nfshome0/{word}/x", word),
    "AFS folder": lambda word, _: (f"/afs/cern.ch/user/x/{word}/x", word),
    "user at a host": lambda word, _: (f"{word}@fu-c2f11-11-01", word),
    "user": lambda word, _: (f"user={word}", word),
    "mail": lambda word, _: (f"{word}@example.org", word),
    "password": lambda word, n: (f"password={word}{n}", word),
    "quoted token": lambda word, n: (f'token: "{word} {n}{word}"', word),
    "option": lambda word, n: (f"--api-key {word}{n}", word),
    "run's key": lambda word, n: (f"runUniqueKey={word}-{n}", word),
    "header": lambda word, n: (f"Authorization: Basic {word}{n}=", word),
    "bearer": lambda word, n: (f"Bearer {word}{n}", word),
    "URL": lambda word, n: (f"https://me:{word}{n}@example.org/", word),
    "web token": lambda word, n: (f"eyJhbGciOiJIUzI1NiJ9.{word}{n}.{word}", word),
    "AWS key": lambda _, n: (f"AKIAIOSFODNN7EXAMP{n}", f"FODNN7EXAMP{n}"),
    "GitHub key": lambda word, n: (f"ghp_{word:x<34}{n}", word),
    "ticket": lambda _, n: (f"/tmp/krb5cc_{n}0{n}", f"krb5cc_{n}0{n}"),
    "column dump": lambda word, n: (f"password            = {word}{n}", word),
    "qualified password": lambda word, n: (f"DB_PASSWORD_0{n}={word}", word),
    "dictionary key": lambda word, n: (f"cfg['x_token'] = '{word}{n}'", word),
    "Digest header": lambda word, n: (f'Authorization: Digest username="a", response="{word}{n}"', word),
    "Oracle account": lambda word, n: (f"sqlplus CMS_DQM/{word}{n}@cms_omds_lb", word),
    "curl credentials": lambda word, n: (f"curl -u jdoe:{word}{n} x", word),
    "GitLab token": lambda word, n: (f"glpat-{word:x<20}{n}", word),
    "session cookie": lambda word, n: (f"PHPSESSID={word}{n}", word),
    "web hook": lambda word, n: (f"https://x.org/hooks/{word}{n}{word}", word),
    "interactive host": lambda _, n: (f"lxplus8{n}", f"lxplus8{n}"),
    "user at an interactive host": lambda word, n: (f"{word}@lxplus8{n}", word),
    "grid storage": lambda word, _: (f"/store/user/{word}/x", word),
    "certificate subject": lambda word, _: (f"/DC=cern/OU=Users/CN={word}", word),
    "Kerberos principal": lambda word, _: (f"{word}@CERN.CH", word),
    "IPv6 prefix": lambda _, n: (f"2001:14{n}:2{n}::", f"14{n}:2{n}"),
    "IPv4 in IPv6": lambda _, n: (f"64:ff9b::10.1.{n}.{n}", f"10.1.{n}.{n}"),
    "user in a sentence": lambda word, _: (f"Started Session 1 of user {word}.", word),
    "user in a table": lambda word, n: (f"{word} 12345 {n}.3 1.2 123 789 ? S", word),
    "password file": lambda word, n: (f"localhost:5432:dqm:jdoe:{word}{n}", word),
    "option of a command": lambda word, n: (f"docker login -p {word}{n}", word),
    "password in a sentence": lambda word, n: (f"Password is {word}{n}", word),
    "variable in JSON": lambda word, n: (f'"name": "DB_PASSWORD", "value": "{word}{n}"', word),
    "key block": lambda word, _: (
        f"-----BEGIN RSA PRIVATE KEY-----\n{word}\n-----END RSA PRIVATE KEY-----",
        word,
    ),
}
FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}
ARABIC_DIGITS = {ord("0") + digit: chr(0x660 + digit) for digit in range(10)}

# Ways to write it.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "in single quotes": lambda text: f"'{text}'",
    "in double quotes": lambda text: f'"{text}"',
    "in a sentence": lambda text: f"15-Sep-2022 13:45:45 CEST  can't reach {text}, will retry.",
    "in brackets": lambda text: f"[({text})]",
    "as an argument": lambda text: repr(["cmsRun", text, "runkey=cosmic_run"]),
    "in JSON": lambda text: json.dumps({"message": f"failed: {text}", "n": 1}),
    "in JSON within JSON": lambda text: json.dumps([json.dumps({"message": text})]),
    "in bytes": lambda text: repr(text.encode()),
    "percent-encoded": lambda text: quote(text, safe=""),
    "behind a control character": lambda text: f"\x07{text}\x00",
    "coloured": lambda text: f"\x1b[1;31m{text}\x1b[0m",
    "with terminal sequences within": lambda text: text[:3] + "\x1b(B\x1b[m" + text[3:],
    "with combining marks": "\u0336".join,
    "in HTML": html.escape,
    "behind an escape": lambda text: f"\\n{text}\\t",
    "on its own line": lambda text: f"13:45:45\n{text}\n13:45:46",
    "in full width": lambda text: text.translate(FULL_WIDTH),
    "in Arabic digits": lambda text: text.translate(ARABIC_DIGITS),
    "with hyphens of print": lambda text: text.replace("-", "\u2010"),
    "with zero-width characters": "\u200b".join,
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(40))
@given(word=LETTERS, number=NUMBERS, spelling=st.sampled_from(sorted(SPELLINGS)))
def test_it_leaves_no_canary(kind: str, word: str, number: int, spelling: str) -> None:
    spell = SPELLINGS[spelling]
    text, canary = KINDS[kind](f"q{word}q", number)
    redacted = REDACT(spell(text)).lower()
    for shown in (canary, canary.translate(FULL_WIDTH), canary.translate(ARABIC_DIGITS), quote(canary)):
        assert shown.lower() not in redacted


def test_it_knows_every_kind_in_every_spelling() -> None:
    missed = [
        f"{kind}, {spelling}"
        for kind, example in KINDS.items()
        for spelling, spell in SPELLINGS.items()
        if REDACT.redact(spell(example("qcanaryq", 42)[0])).redactions == 0
    ]
    assert not missed, "\n".join(missed)


WORST = {
    "digits": "1",
    "dots": ".",
    "colons": ":",
    "hyphens": "-",
    "at signs": "@",
    "backslashes": "\\",
    "quotes": '"',
    "braces": "{",
    "base64": "QUJD",
    "lines of base64": "QUJD" * 16 + "\n",
    "dotted digits": "1.",
    "hex groups": "a1:",
    "addresses": "10.0.0.1 ",
    "at names": "a@",
    "mail": "a@b.c",
    "hosts": "-fu-c2f11-11-01",
    "domains": "a.cms ",
    "broken domains": "a.cmsx",
    "URLs": "://a:b",
    "options": "-token,",
    "unterminated quotes": 'password="',
    "escaped quotes": 'password=\\"',
    "nested values": "password={",
    "values in a list": "password=[a] ",
    "joined values": "password=a,b=",
    "beginnings of keys": "-----BEGIN PRIVATE KEY-----\n",
    "ends of keys": "-----END PRIVATE KEY-----\n",
    "tokens": "eyJhbGciOiJIUzI1N",
    "percent signs": "%25",
    "control characters": "\x00\x1b[",
    "full width": "\uff11",
    "placeholders": "password=[secret] ",
    "joined domains": "abc.cms",
    "commands of MySQL": "mysql -",
    "quoted passwords": "password 'x",
    "passwords in sentences": "password is x",
    "commands": "curl -s ",
    "options of commands": "curl -",
    "users in sentences": "for user a ",
    "names of variables": '"password",\n',
    "signatures": "&sig=x",
    "hashes": "$6$x",
    "functions of hashes": "scrypt:",
    "keys in base64 within words": "aLS0tLS1CRUdJTiB",
    "commands of PostgreSQL": "psql ",
    "commands of Kerberos": "kinit -",
    "keys in base64": "LS0tLS1CRUdJTiB",
    "names behind login": "login as ",
    "credentials in base64": "Basic AAAA",
    "tokens within words": "aeyJhbGciOiJIUzI1N",
    "names of tokens": "Token: ",
    "blanks": "password" + " " * 1000,
    "terminal sequences": "\x1b]0;",
    "columns of terminals": " ?",
    "columns of processes": "a 1 1.0 1.0 1 1",
    "columns of top": " S 1.0 1.0 1:23.45",
    "columns of lsof": " 1u REG",
    "columns of quotas": " -- 1 1 1",
    "columns of queues": " 9/15 13:07",
    "lines of accounts": "a:x:1",
    "lines of passwords": ":1234:a",
    "messages of cron": "cron[1]: (",
    "messages of su": "su: (to a",
    "addresses of authors": "From: a <",
    "commands of processes": "ps -u",
    "folders of one's own": "/tmp/abcd",
    "forks": "github.com/a/",
    "names of branches": "cms-merge-topic -u ",
    "columns of Slurm": " R 0:12 ",
    "jobs of Slurm": "1 a b c R 0:12 ",
    "columns of sockets": "LISTEN      ab         12",
    "columns of revisions": " | 2022-09-15 ",
    "agents": "submitted by abc ",
    "persons in front of addresses": "Ab Cd <a@",
    "clients of FroNTier": "frontier-id: a",
    "passwords that are written": "echo a | ",
    "passwords of web servers": "htpasswd -b a ",
    "options of archives": "zip -",
    "input of commands": "su <<<a",
    "commands of RabbitMQ": "rabbitmqctl -a b ",
    "commands of accounts": "useradd -a ",
    "passwords of new accounts": "useradd -p ",
    "accounts of remote desktops": "xfreerdp /u:a ",
    "accounts of shares": "net use /user:abcd ",
    "entries of access lists": "u:a:r ",
    "rights of AFS": "a rlidwk",
    "certificates": "-cert a:b ",
    "names of proxies": "-x a:",
    "clients of EOS": "mgm.sec=a|",
    "calls of logins": ".login('a','",
    "attributes": "token=user.token ",
    "words for programs": "/tmp/abcde_",
}

# The others resemble something sensitive.
REPLACED = {
    *("joined domains", "names of tokens", "hashes", "keys in base64", "names behind login"),
    *("addresses", "mail", "hosts", "domains", "unterminated quotes", "escaped quotes", "nested values"),
    *("values in a list", "joined values", "beginnings of keys", "ends of keys", "tokens"),
    *("accounts of remote desktops", "accounts of shares", "entries of access lists", "certificates"),
    *("clients of EOS", "calls of logins", "input of commands"),
    *("folders of one's own", "jobs of Slurm", "columns of sockets", "agents", "passwords of web servers"),
}


# Ends of texts: without them, nothing before would be sensitive.
ENDINGS = {"functions of hashes": "$", "commands of Kerberos": "x.keytab 1"}


def redact_worst(size: int) -> None:
    """Redact texts of a number of characters; one pass replaces everything, as a second one confirms."""
    for kind, unit in WORST.items():
        redacted = redact_with_few_searches(unit * (size // len(unit)) + ENDINGS.get(kind, ""))
        assert (redacted.redactions > 0) == (kind in REPLACED), kind
        assert redacted.passes <= 2, kind


def test_it_searches_the_worst_a_few_times() -> None:
    redact_worst(1 << 13)


@pytest.mark.long
def test_it_gets_through_a_lot_of_the_worst() -> None:
    """In 1 MiB, work that grows with the square of the size takes longer than the time limit of a test."""
    redact_worst(1 << 20)
