"""Users as messages of programs name them, without a key: sshd, sudo, systemd, HTCondor, XRootD.

docs/data-policy.md, "Redaction of text", has what they look like.
"""

import re

from dqm2.redaction.rules_base import (
    ALPHANUMERIC,
    DIGITS,
    Placeholder,
    Rule,
    Span,
    follows_word,
    precedes_word,
    resume_within,
    run_end,
    run_start,
    span,
)
from dqm2.redaction.value_spans import is_state

_ACCOUNT_CHARACTERS = ALPHANUMERIC + b"_.-"
_MAX_ACCOUNT = 32

# `for user jdoe`, `Invalid user jdoe from`, `user jdoe is not allowed`.
_USER = rb"(?i:user[ \t]{1,4}[a-z_])"
_INTRODUCTION = re.compile(
    rb"(?i)(?:\b(?:for|of|as|by|new|invalid|illegal|unknown|authenticating|disconnected from)[ \t]+"
    rb"|(?P<other>^|[^a-z \t][ \t]*))$"
)
_INTRODUCTION_WINDOW = 20
# The end of a sentence. Without an introduction it may follow any word, as in `user cpu`.
_END = re.compile(rb"[.,;:!]?(?:[ \t]*(?:\n|\Z)|[\"'`)\]}>]|\\+[\"'nrt])|\.,")
# Text behind a name elsewhere: its uid, an address, or the rest of a sentence about the user.
_AFTER_NAME = re.compile(
    rb"(?i)[ \t]?\((?:uid|id)\b|[ \t]+from\b|:[ ][0-9]{1,3}[ ]\("
    rb"|[ \t]+(?:\[ip\]|[0-9]{1,3}\.[0-9]|port\b)"
    rb"|[ \t]+(?:is[ \t]+not|does[ \t]+not|not[ \t]+(?:found|known|in|allowed)|logged[ \t]+(?:in|out)"
    rb"|authenticated|has[ \t]+no)\b"
)
# Words behind `user` that name no user.
_NO_NAMES = frozenset(
    (
        b"a abort account accounts action actions again agent allocator an analysis analyzer analyzers and "
        b"area branches callback categories code codes completed config configuration confirmation "
        b"convenience cpu cut cuts data defined described done error errors events exception exceptions "
        b"expected extensions file files finished flags follows function functions guide has hook hooks id "
        b"ids input interface interrupt intervention is job jobs level libraries library list manager "
        b"manual mode module modules name names needed not of once options or output parameter parameters "
        b"plugin plugins process processes profile provided record request requests required root script "
        b"selection session sessions settings signal slice space steering succeeded supplied that the this "
        b"thread threads time times twice type types user usual was"
    ).split()
)
# Further words that some account may have as its name: they describe a user only directly behind `user`, and
# not where somebody logs in.
_DESCRIPTIONS = frozenset(
    (
        b"accepts authentication authorization cache client clients command comment consent content "
        b"context control counter credentials device directory documentation expects experience flag "
        b"folder format friendly group groups header headers image index information inputs install "
        b"interaction key keys layer lines load macro map memory message messages model must namespace "
        b"namespaces note number numbers object objects optional outside package packages password path "
        b"paths permission permissions policy preference preferences prefix program programs prompt "
        b"property queries query range response rights role roles scope service services shell should side "
        b"specific specified stack state status string style switch system table tag tags task terminal "
        b"text token tokens tool tools units utilities value values variable variables view who word words "
        b"work would"
    ).split()
)
_LOGIN = re.compile(rb"(?i)[ \t]?\((?:uid|id)\b|[ \t]+(?:from[ \t]+)?(?:\[|[0-9]|port\b)|[ \t]+logged\b")
_SESSION = (b"opened for ", b"closed for ", b"as ")
# `login as jdoe`, `logged in as 'jdoe'`, `Authenticating to [host]:22 as 'jdoe'`.
_LOGIN_AS = (
    rb"(?i:(?:log(?:in|on|ged[ ]in|ging[ ]in)|signed[ ]in|authenticating[ ]to[ ][^\s]+)[ ]as[ ](?:user[ ])?"
    rb"[\"']?[a-z_])"
)
# `Accepted publickey for jdoe from`, `Failed password for invalid user jdoe from`, `sshd: jdoe [priv]`.
_SSHD = (
    rb"(?:Accepted|Failed|Postponed|Partial)[ ](?:none|password|publickey|hostbased"
    rb"|keyboard-interactive(?:/pam)?|gssapi-(?:with-mic|keyex))[ ]for[ ](?:(?:invalid|illegal)[ ]user[ ])?"
    rb"[A-Za-z0-9_]|Authorized[ ]to[ ][A-Za-z0-9_]"
    rb"|sshd:[ ][A-Za-z0-9_]|Starting[ ]session:[ ][a-z]+[ ](?:on[ ][a-z0-9/]+[ ])?for[ ][A-Za-z0-9_]"
)
_BEHIND_SSHD = (b" from ", b", krb5 ", b" [pr", b" [net]", b"@pts/", b"@notty")
# `sudo: jdoe : TTY=pts/0`, `jdoe : command not allowed ; TTY=`, `'jdoe': no such user`,
# `jdoe is not in the sudoers file`.
_BEHIND_NAME = (
    rb"(?:[ ][:;][ ]TTY=|[\"']?:[ ]no[ ]such[ ]user"
    rb"|[ ]is[ ]not[ ]in[ ]the[ ]sudoers[ ]file)"
)
_REFUSAL = re.compile(rb"([A-Za-z0-9_.-]{1,32})[ ]:[ ][A-Za-z0-9 ]{1,64}\Z")
_REFUSAL_WINDOW = 100
_SUDO_PROMPT = rb"\[sudo\][ ]password[ ]for[ ]"
# `CRON[123]: (jdoe) CMD (run.sh)`, `crontab[123]: (root) REPLACE (jdoe)`.
_CRON = rb"(?i:cron(?:d|tab)?\[[0-9]{1,8}\]:[ ]\()"
_CRON_USERS = re.compile(
    rb"([A-Za-z_][A-Za-z0-9_.-]{0,31})\)"
    rb"(?: (?:LIST|DELETE|REPLACE|RELOAD|BEGIN EDIT|END EDIT) \(([A-Za-z0-9_.-]{1,32})\))?"
)
_CRON_ITSELF = b"CRON"
# `FAILED SU (to root) jdoe on pts/0`, `Successful su for root by jdoe`, `new user: name=jdoe`.
_SU = (
    rb"(?:\(to[ ][A-Za-z0-9_.-]+\)[ ][A-Za-z0-9_.-]+[ ]on[ ](?:pts/|tty|none|/dev/)"
    rb"|su[ ]for[ ][A-Za-z0-9_.-]+[ ]by[ ][A-Za-z0-9_]|new[ ]user:[ ]name=[A-Za-z0-9_])"
)
_SU_USERS = re.compile(
    rb"\(to (\S+)\) (\S+)|su for (\S+) by ([A-Za-z0-9_.-]+)|new user: name=([A-Za-z0-9_.-]+)"
)
# The account as an argument of a command: `chown jdoe:zh x`, `kinit jdoe`, `condor_q jdoe`.
_ARGUMENT = (
    rb"(?:chown|kinit|getent[ \t]passwd|(?:add|del)user|gpasswd|chage|enable-linger"
    rb"|condor_(?:q|rm|hold|release))"
    rb"(?:[ \t]{1,4}-[A-Za-z]{1,4}){0,3}[ \t]{1,4}[A-Za-z_]"
)
_OWNER_END = re.compile(rb"[:.]|[ \t]+[/~.$*]")
# `gpasswd -a jdoe GROUP`.
_MEMBER = re.compile(rb"gpasswd[ \t]{1,4}-[ad][ \t]")
_MEMBER_END = re.compile(rb"[ \t]+[A-Za-z_]")
_ARGUMENT_END = re.compile(rb"[ \t]*(?:\n|\Z|[;&|<\"'`\\])")
# The account in a line of a web server's log: `10.1.2.3 - jdoe [15/Sep/2022:10:11:12 +0200]`.
_WEB_LOG = rb"[ ]\[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:"
_WEB_LOG_BEFORE = b" - "
# Numbers of users: `uid 51234`, `uid not found: 51234`, `AFS ID 51234`, `user-51234.slice`,
# `user@51234.service`, `(cmsRun) of user 51234 dumped core`, `op=login id=51234`.
_NUMBER = (
    rb"(?:(?i:uid[ \t]{1,4}|uid[ ]not[ ]found:[ ]|AFS[ ]ID[ ]|user[@-]|user-runtime-dir@"
    rb"|of[ ]user[ ]|op=login[ ]id=)[0-9]{4,10})"
)
_UNIT = re.compile(rb"\.(?:slice|service)")
# The last part of HTCondor's accounting group: `AccountingGroup = "group_u_CMS.u_zh.jdoe"`.
_ACCOUNTING_GROUP = rb"(?i:accounting_?group[ \t]*=[ \t]*[\"']?)"
# `getpwnam(): name not found: 'jdoe'` of Python, the mapping of a certificate by HTCondor, CVS's
# `$Author: jdoe $`, `attribute : nickname = jdoe (cms)` of a grid proxy, the owner of vim's swap file.
_NAMED = (
    rb"(?:getpwnam\(\):[ ]name[ ]not[ ]found:[ ]|\$Author:[ ]"
    rb"|successful[ ]mapping[ ]to[ ]|attempting[ ]to[ ]map[ ]|name[ ]to[ ]map[ ]is[ ]|current[ ]user[ ]is[ ]"
    rb"|(?:ZKM:[ ]found|not[ ]find)[ ]user[ ]|unix-user:"
    rb"|attribute[ ]:[ ]nickname[ ]=[ ]|owned[ ]by:[ ]|user[ ]name:[ ])[\"']?[A-Za-z0-9_]"
)
_DOMAIN = re.compile(rb"@[A-Za-z0-9-]{1,63}\.[A-Za-z]{2}")
# The client of FroNTier: `X-Frontier-Id: cmsRun 12345 jdoe(51234) John Doe`.
_FRONTIER = rb"(?i:frontier-id:[ ])"
_FRONTIER_USER = re.compile(
    rb"[^\n\"'(]{0,96}?([A-Za-z0-9_.-]{1,32}\([0-9]{1,10}\))"
    # The person, up to the next header or what the server adds: `via: 1.0 …`.
    rb"(?:[ ]([^\s\"'<>](?:(?![ ][A-Za-z-]{3,24}:[ ])[^\n\"'<>\\]){0,96}))?"
)
# `Job submitted by jdoe at 13:07`, `Requested by: John Doe`, Slurm's `CANCELLED by 51234`.
_BY = rb"(?i:ed[ ]by(?::[ \t]+|[ ])[a-z0-9])"
# Verbs whose agent is a person. Those of the second line count only if a colon follows `by`.
_DONE = re.compile(
    rb"(?i)\b(?:(?P<by_persons>submitt|last modifi|committ|approv|review|author|cancell)"
    rb"|request|report|modifi|lock|start|upload|creat)\Z"
)
_DONE_WINDOW = 16
_AGENTS = _NO_NAMES | frozenset(
    (
        b"admin administrator admins all another any anyone automatic automatically batch bot both "
        b"checksum client clients cmsbuild cmsrun command condor crab cron daemon dagman default design "
        b"dqm each either every everyone expert experts external factory framework git github gitlab "
        b"glidein grid group hand handler handlers hash host internal it itself jenkins kernel local "
        b"machine mail many master most multiple nightly nobody none number one only operator operators "
        b"other others our parent people pilot production queue release request root run runner scheduler "
        b"script scripts server servers service services several shift shifter shifters signal slurm some "
        b"someone source specifying submit system systemd task tasks team their them themselves thread "
        b"threads transaction transactions two using via wmagent worker workers workflow you"
    ).split()
)
# Names of groups, projects and programs are written like those of persons. One of these words is enough for a
# group; of those below, which may be names of persons, the name must have no others.
_ONLY_OF_GROUP = frozenset(
    (
        b"alliance analyser analyzer association calibration calorimeter certification collaboration "
        b"committee commons consortium coordination department detector experiment foundation framework "
        b"initiative institute luminosity management monitoring processor reconstruction software "
        b"university validation workflow workspace"
    ).split()
)
_OF_GROUP = frozenset(
    (
        b"analysis bot center centre client clients control council data display downtime ecal event "
        b"events expert experts express forum global group groups hcal heavy host ion job jobs loop "
        b"manager managers monitor network object objects office offline online open operations physics "
        b"pixel processing program project prompt quality queue run script server service services shifter "
        b"source stream system systems task team tier tool tools tracker tracking trigger version worker"
    ).split()
)
_ACCOUNT_OF_AGENT = re.compile(rb"(?:[a-z][a-z0-9_]{2,31}|[0-9]{4,10})(?![A-Za-z0-9_:/-])")
_BEHIND_AGENT = re.compile(rb"[ ](?:at|on|from|[0-9])|[ ]{2}")
_FULL_NAME = re.compile(
    rb"[A-Z][a-z][A-Za-z'-]{0,24}(?:[ ](?:[A-Z]\.[ ])?[A-Z][a-z][A-Za-z'-]{0,24}){1,3}(?![A-Za-z0-9_:/])"
)
_BY_JENKINS = b"Started by "


def _user(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    last = _account_end(text, end - 1)
    before = text[max(min_start, start - _INTRODUCTION_WINDOW) : start].rpartition(b"\n")[2]
    name = text[end - 1 : last]
    if before.endswith(_BY_JENKINS) and (person := _FULL_NAME.match(text, end - 1)):
        return span(*person.span(), Placeholder.USER)
    introduction = _INTRODUCTION.search(before)
    if name.lower() in _NO_NAMES or is_state(text, end - 1) or not introduction:
        return ()
    is_login = before.endswith(_SESSION) or _LOGIN.match(text, last)
    if name.lower() in _DESCRIPTIONS and not is_login:
        return ()
    is_end = introduction["other"] is None and _END.match(text, last)
    if not is_end and not _AFTER_NAME.match(text, last):
        return ()
    return span(end - 1, last, Placeholder.USER)


def _named(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    last = _account_end(text, end - 1)
    if text[end - 1 : last].lower() in _NO_NAMES or is_state(text, end - 1):
        return ()
    # Addresses and URLs have rules of their own.
    is_part = _DOMAIN.match(text, last) is not None or text.startswith(b"://", last)
    return () if is_part else span(end - 1, last, Placeholder.USER)


def _frontier(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    user = _FRONTIER_USER.match(text, end)
    return _groups(user) if user else ()


def _by(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    is_key = b":" in text[start:end]
    done = _DONE.search(text, max(min_start, start - _DONE_WINDOW), start)
    if not done or not (is_key or done["by_persons"]):
        return ()
    if person := _FULL_NAME.match(text, end - 1):
        return () if _is_group(person[0]) else span(*person.span(), Placeholder.USER)
    account = _ACCOUNT_OF_AGENT.match(text, end - 1)
    if not account or account[0] in _AGENTS or is_state(text, end - 1):
        return ()
    is_end = _END.match(text, account.end()) or _BEHIND_AGENT.match(text, account.end())
    return span(*account.span(), Placeholder.USER) if is_end else ()


def _is_group(name: bytes) -> bool:
    """Whether a name with capitals is that of a group or program rather than of a person."""
    words = frozenset(name.lower().split())
    return not _ONLY_OF_GROUP.isdisjoint(words) or words <= _OF_GROUP


def _login_as(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    last = _account_end(text, end - 1)
    name = text[end - 1 : last].lower()
    if follows_word(text, min_start, start) or name in _NO_NAMES or is_state(text, end - 1):
        return ()
    return span(end - 1, last, Placeholder.USER)


def _sshd(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    last = _account_end(text, end - 1)
    return span(end - 1, last, Placeholder.USER) if text.startswith(_BEHIND_SSHD, last) else ()


def _behind_name(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    if text.startswith(b" ;", start):
        refusal = _REFUSAL.search(text, max(min_start, start - _REFUSAL_WINDOW), start)
        return span(*refusal.span(1), Placeholder.USER) if refusal else ()
    first = run_start(text, min_start, start, _ACCOUNT_CHARACTERS, _MAX_ACCOUNT)
    is_name = not is_state(text, first) and text[first:start].lower() not in _NO_NAMES
    return span(first, start, Placeholder.USER) if is_name else ()


def _web_log(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    first = run_start(text, min_start, start, _ACCOUNT_CHARACTERS + b"@", 2 * _MAX_ACCOUNT)
    is_account = text.endswith(_WEB_LOG_BEFORE, min_start, first) and text[first:start] != b"-"
    return span(first, start, Placeholder.USER) if is_account else ()


def _sudo_prompt(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    return span(end, _account_end(text, end), Placeholder.USER)


def _number(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    first = start + len(text[start:end].rstrip(DIGITS))
    is_unit = text[first - 1] in b"@-"
    is_part = follows_word(text, min_start, start) or precedes_word(text, end)
    if is_part or (is_unit and not _UNIT.match(text, end)):
        return ()
    return span(first, end, Placeholder.USER)


def _accounting_group(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    last = run_end(text, end, _ACCOUNT_CHARACTERS)
    dot = text.rfind(b".", end, last)
    return span(dot + 1, last, Placeholder.USER) if dot >= 0 else ()


def _account_end(text: bytes, at: int) -> int:
    name = text[at : run_end(text, at, _ACCOUNT_CHARACTERS, _MAX_ACCOUNT)]
    return at + len(name.rstrip(b".-"))


def _cron(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    users = _CRON_USERS.match(text, end)
    return _groups(users) if users and users[1] != _CRON_ITSELF else ()


def _su(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    users = _SU_USERS.match(text, start)
    return () if not users or follows_word(text, min_start, start) else _groups(users)


def _argument(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    last = _account_end(text, end - 1)
    name = text[end - 1 : last].lower()
    behind = _OWNER_END if text.startswith(b"chown", start) else _ARGUMENT_END
    if _MEMBER.match(text, start):
        behind = _MEMBER_END
    if name in _NO_NAMES or is_state(text, end - 1) or not behind.match(text, last):
        return ()
    return () if follows_word(text, min_start, start) else span(end - 1, last, Placeholder.USER)


def _groups(users: re.Match[bytes]) -> tuple[Span, ...]:
    groups = range(1, users.re.groups + 1)
    return tuple(Span(*users.span(group), Placeholder.USER) for group in groups if users[group])


USER_MESSAGE_RULES = (
    Rule(_SSHD, _sshd, resume_within),
    Rule(_LOGIN_AS, _login_as, resume_within),
    Rule(_NAMED, _named, resume_within),
    Rule(_USER, _user, resume_within),
    Rule(_FRONTIER, _frontier, resume_within),
    Rule(_BY, _by, resume_within),
    Rule(_BEHIND_NAME, _behind_name, resume_within),
    Rule(_SUDO_PROMPT, _sudo_prompt),
    Rule(_CRON, _cron),
    Rule(_SU, _su, resume_within),
    Rule(_ARGUMENT, _argument, resume_within),
    Rule(_WEB_LOG, _web_log),
    Rule(_NUMBER, _number, resume_within),
    Rule(_ACCOUNTING_GROUP, _accounting_group),
)
