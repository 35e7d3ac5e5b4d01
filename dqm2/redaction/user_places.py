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
_FOLDER = rb"/(?:tmp|build|scratch)\\?/+[a-z]"
_ACCOUNT = re.compile(rb"([a-z]{4,8})[0-9]?(?=\\?/)")
# A slash behind one of these characters is within a path.
_PATH = ALPHANUMERIC + b"_.+~/})]-"
_SCHEME = b"://"
_VAR = b"/var"
# Beginnings of the names of services and temporary folders.
_SERVICES = (b"cms", b"dqm", b"fff", b"tmp")
_ORDINARY_FOLDERS = frozenset(
    (
        b"abrt airflow alca alias alpaka analysis ansible apache archive archives area array auth auto "
        b"backup backups base bash batch bazel beam beams bench binary bins blob block board book boost "
        b"boot branch buffer bugs bundle bundles byte cached caches call calo cargo castor cernbox certify "
        b"certs channel chart check chunk clang class client clients cling clone cloud cluster cmake code "
        b"collectd column command comment commit common compare compile conda condor copy core cores count "
        b"cover coverage crab crls cron cupy curl cycle daemon daemons daily dasgo dask debian debug "
        b"default delta demo demos design detector devel develop device diff digest digis disk display docs "
        b"draft drive driver dump dumps easy edit eigen empty entry epoch error errors etcd evtgen example "
        b"examples export exports express external extra fast fastjet fedora field files fill fills final "
        b"find first fixed flag flow fluka folder foreman form format fortran fresh frontier full game "
        b"ganglia gate gdml geant gfal github gitlab glibc glidein global golang golden grab grafana green "
        b"group groups guide hadoop hand hash hcal head header health heap hello helm hepmc herwig high "
        b"hist hold home hook hour html icon ideas import include influx init inner install intel issue "
        b"item items java jenk jenkins jobs journal julia jupyter kafka keras kernel kill koji kubectl "
        b"kubelet label lapack large last layer layout lcov legacy lemon level lhapdf light line link "
        b"linker linux lists live llvm loader local lock locks logging logs loki lone loop lumi lumis "
        b"machine macro magic mail main make manual marker mask massif match math mathlib maven media "
        b"memory merge merged mesh meta metrics minio minor mirror misc mkfit mock mode model models mono "
        b"month mount mover mpich mpirun multi music nagios name names need nest next nfsd nginx night "
        b"nightly node nodes none note notebook notes ntuple ntuples null numba number numpy nvcc nvidia "
        b"offline offset online onnx open opencl opengl openmpi openssl option oracle orbit order other "
        b"outer package packages page panda panel panic parallel part pass patch patches path pause perf "
        b"perfmon perl phase phedex photo photos phys pickle picture pictures pieces pileup pilot pipe "
        b"pipeline pipes pkgs place plain play playback plots podman point pool port post postgres prefix "
        b"press print private probe process prod product profiles program project projects prompt proof "
        b"public puppet purge push qemu quick quiet quota rack ramdisk random range rate ratio read ready "
        b"recent recipe record recover redis region reject release releases relval remote render repair "
        b"replay repo repos request rereco rerun reset result results retry review right ring rivet rocm "
        b"rotate route rpms ruby rucio rule runner runs rust rustc safe sample samples save saved scale "
        b"scan scipy scitags scope scratch screen screens search secret section seed select selenium send "
        b"series service setup shared shell sherpa shift shifts short shots show side signal silent simple "
        b"single site sites size skim skims sleep slice slim slot slurm small smoke snap snapshot soft "
        b"solid sort sosrep source sources space spack spare spark split squid stack stage staged staging "
        b"stamp start stat state states static stats status stderr stdout step stop storage store stores "
        b"stream streamer streams string study style submit suite summary super support swan swap swift "
        b"switch symbol syslog sysroot system systemd table tables tail take tarball target task tasks "
        b"tcmalloc telegraf temp temper template temps tensorfl tensors terminal testing tests text theano "
        b"theme thread threads thrift tick ticket tidy tile time timer token tomcat tool toolbox tools "
        b"torch tower trace traces tracing track tracker tracking tracks train transfer transit trees "
        b"trigger triton tune tuning tuple turn type unit units unix unpack user users valgrind value "
        b"values vault vector velero vendor venv verify version video view virtual visual volume voms "
        b"vscode vtune wait walk warm warn watch wave webdav week wget wheel wheels wide window wire wizard "
        b"wlcg wmcore word work workdir works world wrap wrapper write xerces xray xrootd yaml yarn year "
        b"zero zlib zone zookeep"
    ).split()
)
# Parts of words for programs and data; surnames with one of them are rare.
_TECHNICAL = re.compile(
    rb"build|calib|config|crash|deploy|docker|download|event|filter|geom|graph|histo|http|image|index|input|json"
    rb"|matrix|module|muon|object|output|pixel|plugin|proxy|queue|report|sandbox|schema|scram|script|server"
    rb"|session|socket|spool|sql|squash|strip|sync|timing|trash|update|upload|ython"
    rb"|^(?:beamsp|conf|cud[an]|data[bs]|ecal|grid|hlt|lib[bcdfghjklmnpqrstvwxz]|py[bcdfghjklmnpqrstvwxz]"
    rb"|root|torchr|worke|xrd)|(?:cache|conf|data|db|file|fs|hep|load|plot|prof|test)$"
)


def _folder(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    account = _ACCOUNT.match(text, end - 1)
    if not account or account[1].startswith(_SERVICES) or account[1] in _ORDINARY_FOLDERS:
        return ()
    if _TECHNICAL.search(account[1]):
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
