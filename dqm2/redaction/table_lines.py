"""Users in lines of tables: ps, top, lsof, who, last, quotas, HTCondor's queue, `/etc/passwd`.

A line is recognized by columns that few other lines have, without the header of its table: a log may begin
in the middle of a table. The trigger is such a column; the user is in front of it.
docs/data-policy.md, "Redaction of text", has what they look like.
"""

import re

from dqm2.redaction.rules_base import ALPHANUMERIC, Placeholder, Rule, Span, resume_within, run_start, span

# Bytes in front of a column and behind it in which the others are looked for.
_WINDOW = 128
# Names and numbers of users. Programs cut long names: `dqm-off+`.
_MAX_ACCOUNT = 32
_USER = rb"(?<![A-Za-z0-9_.+-])(?:(?<=\\)[nrt])?([A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\+?)"
_ACCOUNT_CHARACTERS = ALPHANUMERIC + b"_.-+"
_WORD_STARTS = (b"", b" ", b"\t", b"\n", b'"', b"'")
_LINE_STARTS = (b"", b"\n", b'"', b"'")

# Column TTY of ps, who and last; in a message of su, two users follow it.
_TERMINAL = rb"[ \t](?:\?|(?:/dev/)?pts/[0-9]{1,4}|tty[0-9A-Za-z]{1,5}|:[0-9]{1,2})[ \t]"
# `ps aux`, `ps -f` and `ps -l` from the user to the terminal: processes, shares, sizes, priorities, a start.
_START = rb"(?:[0-9]{2}:[0-9]{2}|[A-Z][a-z]{2}[0-9]{2}|[0-9]{4})"
_PROCESS = re.compile(
    _USER + rb"[ ]+[0-9]{1,8}[ ]+(?:"
    rb"[0-9]+\.[0-9][ ]+[0-9]+\.[0-9][ ]+[0-9]+[ ]+[0-9]+"
    rb"|[0-9]+[ ]+[0-9]{1,3}[ ]+" + _START + rb"|[0-9]+[ ]+[0-9]{1,3}(?:[ ]+(?:-|-?[0-9]+)){2}"
    rb"[ ]+[0-9a-f-]+[ ]+[0-9]+[ ]+[A-Za-z0-9_-]+(?:[ ]+" + _START + rb")?)[ ]*\Z"
)
# Behind the terminal: the state of a process, or its time.
_STATE = re.compile(rb"[ ]*(?:[DIRSTtWXZ][<NLsl+]{0,5}|[0-9-]{0,5}[0-9]{1,6}:[0-9]{2}(?::[0-9]{2})?)\b")
# Behind the terminal of a session: a host and a time, as in `Thu Sep 15 13:07`, `2022-09-15 13:07`, `Thu13`.
_SESSION = re.compile(
    rb"[ \t]*+(?:[0-9A-Za-z.:\[\]-]{1,64}+[ \t]++)??"
    rb"(?:[A-Z][a-z]{2}[ ](?:[A-Z][a-z]{2}[ ])?[ 0-9][0-9][ ][0-9]{2}:"
    rb"|[0-9]{4}-[0-9]{2}-[0-9]{2}[ ]|[0-9]{2}:[0-9]{2}[ ]|[A-Z][a-z]{2}[0-9]{2}[ ])"
)
_SU = re.compile(rb"su(?:\[[0-9]{1,8}\])?: [+-]\Z")
_SU_USERS = re.compile(rb"([A-Za-z0-9_.]{1,32})[:-]([A-Za-z0-9_.-]{1,32})(?=\s|\Z)")

# Columns of top from the state on: `S  99.7  1.2   1:23.45`. In front of them: user, priorities, sizes.
_TOP = rb"[ ][DIRSTtXZ][ ]+[0-9]{1,5}\.[0-9][ ]+[0-9]{1,3}\.[0-9][ ]+[0-9]{1,6}:[0-9]{2}[.:][0-9]{2}[ ]"
_TOP_USER = re.compile(
    _USER + rb"[ ]+(?:rt|-?[0-9]{1,3})[ ]+-?[0-9]{1,2}(?:[ ]+[0-9][0-9.]*[kmgtpKMGTP]?){3}[ ]*\Z"
)
# Column TYPE of lsof. In front of it: the process, perhaps its thread, the user, the descriptor.
_OPEN_FILE = rb"[ ](?:REG|DIR|CHR|BLK|FIFO|LINK|IPv[46]|unix|sock|a_inode|netlink|unknown|pack)[ ]"
_OPEN_FILE_USER = re.compile(
    rb"[ ][0-9]{1,8}[ ]+(?:[0-9]{1,8}[ ]+[^\s]{1,32}[ ]+)?"
    + _USER
    + rb"[ ]+(?:cwd|rtd|txt|mem|DEL|NOFD|[0-9]{1,6}[rwu-]?[RWUrwNXx]?)[ ]*\Z"
)
# Columns of repquota: `--  123456  200000  250000`, then how long more is tolerated, and the same for files.
_QUOTA = rb"[ ][+-][+-][ ]+[0-9]+[ ]+[0-9]+[ ]+[0-9]+[ ]"
_QUOTA_REST = re.compile(rb"[ ]*+(?:(?:[0-9]+days|[0-9]{2}:[0-9]{2}|none)[ ]++)?(?:[0-9]++[ ]++){2}[0-9]")
# Column SUBMITTED of condor_q, `9/15 13:07`. In front of it: the user and the name of the jobs, whose counts
# follow; or the number of a job and its user, and behind it the time that the job ran, `0+00:12:34`.
_SUBMITTED = rb"/[0-9]{1,2}[ ]+[0-9]{1,2}:[0-9]{2}[ ]"
_COUNTS = re.compile(rb"(?:[ ]*+(?:_|[0-9]++)[ ]){3}")
_RUN_TIME = re.compile(rb"[ ]*+[0-9]++\+[0-9]{2}:")
_OWNER_OF_JOBS = re.compile(rb"(?<![^\n\"'])" + _USER + rb"[ ]+(?:ID:[ ]+)?[^\s]{1,64}[ ]+[0-9]{1,2}\Z")
_OWNER_OF_JOB = re.compile(rb"(?<![^\s\"'])[0-9]{1,9}\.[0-9]{1,6}[ ]+" + _USER + rb"[ ]+[0-9]{1,2}\Z")
_TOTAL = rb"Total[ ]for[ ][A-Za-z0-9_.-]+:[ ][0-9]+[ ]jobs;"
_TOTAL_USER = re.compile(rb"Total for (?!query:)([^:]+)")
# Columns ST and TIME of squeue, `PD 0:00`, `R 2-02:03:08`. In front of them: a number, partition, name, user.
_QUEUED = (
    rb"[ ](?:C[ADFG]|F|OOM|PD|R|RUNNING|S|TO|PENDING|COMPLETING|SUSPENDED|FAILED|TIMEOUT)[ ]+"
    rb"(?:[0-9]{1,3}-)?[0-9]{1,2}:[0-9]{2}"
)
_QUEUED_JOB = re.compile(rb"[ \"']*+[0-9]++(?:[_+][^\s]*+)?[ ]++[^\s]++[ ]++[^\s]++[ ]")
# Columns State and Foreign Address of netstat; behind them: the user, a number, perhaps a process.
_SOCKET = (
    rb"(?:ESTABLISHED|SYN_SENT|SYN_RECV|FIN_WAIT[12]|TIME_WAIT|CLOSE(?:_WAIT)?|CLOSING|LAST_ACK|LISTEN|:\*)"
    rb"[ ]+[A-Za-z0-9_]"
)
_SOCKET_USER = re.compile(
    rb"([A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{4,10})([ ]{1,16})[0-9]{1,10}[ ]*(?:[ ][0-9]{1,8}/|[ ]-|\n|\Z)"
)
_SOCKET_USER_WIDTH = 11
# Column of the time in a log of Subversion, `r1234 | jdoe | 2022-09-15 13:07:01 +0200`; the time in a keyword
# of CVS has the user behind it, `$Id: x.cc,v 1.12 2010/03/04 12:12:12 jdoe Exp $`.
_REVISION = rb"[ ](?:\|[ ][0-9]{4}-[0-9]{2}-[0-9]{2}|Exp)[ ]"
_AUTHOR = re.compile(rb"(?:\br[0-9]{1,9} \||[0-9]{2}:[0-9]{2}:[0-9]{2}) ([A-Za-z0-9_.@-]{1,64})\Z")

# `/etc/passwd` and `/etc/group` from the password on: `:x:51234:1399:John Doe:/home/jdoe:`.
_ENTRY = rb":(?:x|\*|!!?):[0-9]+:"
_NUMBER_OF_ENTRY = re.compile(rb":([0-9]+):\Z")
_ACCOUNT = re.compile(rb"[0-9]{1,10}:([^:\n]{0,64}):\\?/")
_MIN_PRIVATE = 4
_MEMBERS = re.compile(rb"([A-Za-z0-9_.,-]{0,512}+)(?=\n|\Z|[\"'\\])")


def _terminal(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    limit = max(min_start, start - _WINDOW)
    if _STATE.match(text, end) and (process := _PROCESS.search(text, limit, start)):
        return span(*process.span(1), Placeholder.USER)
    if _SU.search(text, limit, start) and (users := _SU_USERS.match(text, end)):
        return Span(*users.span(1), Placeholder.USER), Span(*users.span(2), Placeholder.USER)
    return _line_start(text, min_start, start) if _SESSION.match(text, end, end + _WINDOW) else ()


def _top(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    return _user_before(_TOP_USER, text, min_start, start)


def _open_file(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    return _user_before(_OPEN_FILE_USER, text, min_start, start)


def _quota(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    return _line_start(text, min_start, start) if _QUOTA_REST.match(text, end, end + _WINDOW) else ()


def _submitted(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if _COUNTS.match(text, end, end + _WINDOW):
        return _user_before(_OWNER_OF_JOBS, text, min_start, start)
    is_job = _RUN_TIME.match(text, end, end + _WINDOW)
    return _user_before(_OWNER_OF_JOB, text, min_start, start) if is_job else ()


def _total(text: bytes, _min_start: int, start: int, end: int) -> tuple[Span, ...]:
    user = _TOTAL_USER.match(text, start, end)
    return span(*user.span(1), Placeholder.USER) if user else ()


def _queued(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    earliest = max(0, start - _WINDOW)
    line = text.rfind(b"\n", earliest, start) + 1
    if (line == 0 < earliest) or not _QUEUED_JOB.match(text, line, start):
        return ()
    last = line + len(text[line:start].rstrip(b" "))
    first = run_start(text, min_start, last, _ACCOUNT_CHARACTERS, _MAX_ACCOUNT)
    return span(first, last, Placeholder.USER) if text[first - 1 : first] == b" " else ()


def _socket(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    user = _SOCKET_USER.match(text, end - 1)
    if not user or len(user[1]) + len(user[2]) != max(_SOCKET_USER_WIDTH, len(user[1]) + 1):
        return ()
    return span(*user.span(1), Placeholder.USER)


def _revision(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    return _user_before(_AUTHOR, text, min_start, start)


def _entry(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    first = run_start(text, min_start, start, _ACCOUNT_CHARACTERS, _MAX_ACCOUNT)
    number = _NUMBER_OF_ENTRY.search(text, start, end)
    if text[max(min_start, first - 1) : first] not in _WORD_STARTS or not number:
        return ()
    name = span(first, start, Placeholder.USER)
    if account := _ACCOUNT.match(text, end):
        person = span(*account.span(1), Placeholder.USER)
        return (*name, Span(*number.span(1), Placeholder.USER), *person) if name else ()
    members = _MEMBERS.match(text, end)
    if not members or not name:
        return ()
    # A group without members is that of one user, of the same name, unless it is the system's own.
    is_private = number.end(1) - number.start(1) >= _MIN_PRIVATE
    return span(*members.span(1), Placeholder.USER) or (name if is_private else ())


def _user_before(pattern: re.Pattern[bytes], text: bytes, min_start: int, at: int) -> tuple[Span, ...]:
    user = pattern.search(text, max(min_start, at - _WINDOW), at)
    return span(*user.span(1), Placeholder.USER) if user else ()


def _line_start(text: bytes, min_start: int, at: int) -> tuple[Span, ...]:
    """The user at the start of a line, if only blanks are between it and `at`."""
    before = text[max(min_start, at - _WINDOW) : at]
    last = at - len(before) + len(before.rstrip(b" \t"))
    first = run_start(text, min_start, last, _ACCOUNT_CHARACTERS, _MAX_ACCOUNT)
    is_start = text[max(min_start, first - 1) : first] in _LINE_STARTS
    if not is_start and not text.endswith(b"\\n", min_start, first):
        return ()
    return span(first, last, Placeholder.USER)


TABLE_LINE_RULES = (
    Rule(_TERMINAL, _terminal),
    Rule(_TOP, _top),
    Rule(_OPEN_FILE, _open_file),
    Rule(_QUOTA, _quota),
    Rule(_SUBMITTED, _submitted),
    Rule(_TOTAL, _total),
    Rule(_QUEUED, _queued, resume_within),
    Rule(_SOCKET, _socket, resume_within),
    Rule(_REVISION, _revision, resume_within),
    Rule(_ENTRY, _entry),
)
