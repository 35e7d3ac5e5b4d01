"""Accounts in the names of shared places: `/tmp/NAME/…`, a developer's fork of CMSSW.

A word in such a place need not be a person. It is left if it is an ordinary word, belongs to a service, or is
an organisation. docs/data-policy.md, "Redaction of text", has what the names look like.
"""

import re

from dqm2.redaction.rules_base import (
    ALPHANUMERIC,
    Placeholder,
    Rule,
    Span,
    follows_word,
    is_escaped_letter,
    resume_within,
    span,
)

# A user's folder, with a file in it, in a folder that everyone may write to: `/tmp/jdoe/x.root`,
# `/build/jdoe/CMSSW_12_4_8/`. Four letters to eight, as accounts at CERN have, perhaps with a digit.
_FOLDER = rb"/(?:tmp|build|scratch)\\?/+[a-z]{4}"
_FIRST_LETTERS = 4
_ACCOUNT = re.compile(rb"([a-z]{4,8})[0-9]?(?=\\?/)")
# A slash behind one of these characters is within a path.
_PATH = ALPHANUMERIC + b"_.+~/})]-"
_SCHEME = b"://"
_VAR = b"/var"
# Beginnings of the names of services and temporary folders.
_SERVICES = (b"cms", b"dqm", b"fff", b"tmp")
_ORDINARY_FOLDERS = frozenset(
    (
        b"alca analysis apache archive archives backup backups bash batch beam bins build builds bundle "
        b"cache cached caches calib calo castor clang client clients cling clone cluster cmake code common "
        b"conda condor conf config configs core cores crab crash crashes cron cuda curl cvmfs daemon daemons "
        b"data dataset debian debug default demo deploy devel develop disk docker docs download dump dumps "
        b"ecal error errors event events example examples export exports express external fedora file files "
        b"fill fills filter folder frontier geant geometry github gitlab glidein global grafana graph graphs "
        b"grid group groups hadoop hcal heap hist histo histos home html httpd image images import include "
        b"input inputs install items java jenkins jobs json jupyter kafka kernel lcov library libs lists "
        b"local lock locks logging logs lumi machine mail main maven media memory merge merged metrics misc "
        b"mock model models module modules mount mpich muon music mysql name names nginx node nodes none "
        b"ntuple ntuples nvidia object objects offline online openmpi oracle other output outputs package "
        b"packages panda parallel patch patches perf pilot pipe pipes pixel pkgs playback plot plots plugin "
        b"plugins podman postgres prefix private process prod product profile profiles program project "
        b"projects prompt proxy public pytest python queue ramdisk random redis release releases remote repo "
        b"report reports repos result results root rpms rucio runner runs sample samples sandbox scan scram "
        b"scratch script scripts secret server servers service session shared shell shots site sites skim "
        b"skims slurm snapshot socket sockets source sources spack spool squid stage staging state states "
        b"stats stderr stdout storage store stream streams strip support swap sync system systemd table "
        b"tables target task tasks temp temps test testing tests thread threads tool toolbox tools torch "
        b"trace traces track tracks transfer trash trees trigger triton tune unit units unpack update "
        b"updates upload uploads user users valgrind value values vendor venv version video volume vscode "
        b"wget wheel wheels work workdir worker workers works world wrapper xrdcp xrootd yarn zookeep"
    ).split()
)


def _folder(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    account = _ACCOUNT.match(text, end - _FIRST_LETTERS)
    if not account or account[1].startswith(_SERVICES) or account[1] in _ORDINARY_FOLDERS:
        return ()
    root = start - len(_VAR) if text.endswith(_VAR, min_start, start) else start
    if _is_within_path(text, min_start, root):
        return ()
    return span(*account.span(), Placeholder.USER)


def _is_within_path(text: bytes, min_start: int, at: int) -> bool:
    """Whether the slash at `at` goes on with a path: `CMSSW_12_4_8/tmp/`, but not `file:///tmp/`."""
    if at == min_start:
        return at > 0
    if text.endswith(_SCHEME, min_start, at) or is_escaped_letter(text, min_start, at - 1):
        return False
    return text[at - 1] in _PATH


# A fork of software of CMS: `github.com/jdoe/cmssw`, `git@github.com:jdoe/cmsdist.git`. The owners of other
# software are as public as it is: https://github.com/nlohmann/json.
_HUB = (
    rb"(?:(?i:git(?:hub|lab)\.(?:com|cern\.ch)(?::[0-9]{1,5})?[:/\\])"
    # `git@github.com:` once the rule of `user@host` has replaced it.
    rb"|(?:\[email\]|\]@\[host\]):(?:[0-9]{1,5}/)?)"
)
_FORK = re.compile(
    rb"(?i)\\?/?(?:repos\\?/)?([a-z0-9][a-z0-9_-]{0,38})\\?/"
    rb"(?:(?:my[_-]?)?(?:cms|dqm|hlt|l1t|wmcore|crab|pkgtools|scram|fff))"
)
_HUB_WINDOW = 96
# `Merge pull request #39145 from jdoe/fix`, `git cms-merge-topic -u jdoe:fix`.
_BRANCH = (
    rb"(?:pull[ ]request[ ]#[0-9]{1,8}[ ]from[ ]"
    rb"|cms-(?:merge|rebase|checkout)-topic[ ]+(?:-u[ ]+)?)[A-Za-z0-9]"
)
_OWNER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]{0,38})[:/]")
_ORGANISATIONS = (b"cms", b"dmwm", b"dqm", b"patatrack", b"hgc", b"ctpps", b"p2l1pfp", b"cern")


def _hub(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    return _owner(_FORK.match(text, end, end + _HUB_WINDOW))


def _branch(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    return () if follows_word(text, min_start, start) else _owner(_OWNER.match(text, end - 1))


def _owner(owner: re.Match[bytes] | None) -> tuple[Span, ...]:
    if not owner or owner[1].lower().startswith(_ORGANISATIONS):
        return ()
    return span(*owner.span(1), Placeholder.USER)


USER_PLACE_RULES = (
    Rule(_FOLDER, _folder, resume_within),
    Rule(_HUB, _hub, resume_within),
    Rule(_BRANCH, _branch),
)
