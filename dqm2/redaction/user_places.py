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
        b"backup backups base bash batch bazel beam beamspot bench binary bins blob boost boot buffer bugs "
        b"bundle bundles byte cache cached caches call calo castor cernbox certify certs channel chart "
        b"check chunk clang class client clients cling clone cloud cluster cmake code collectd column "
        b"command comment commit common compare compile conda condor conf copy core cores count cover "
        b"coverage crab crls cron cuda cudnn cupy curl cvmfs cycle daemon daemons dasgo dask data database "
        b"dataset datasets ddhep debian debug default demo demos design detector devel develop device diff "
        b"digest digis disk display docs draft drive dump dumps easy ecal ecalpn edit empty entry epoch "
        b"error errors etcd evtgen example examples export exports express external extra fast fastjet "
        b"fedora file files fill fills final find first fixed flag flow fluka folder form format fortran "
        b"fresh frontier full game ganglia gate gdml geant gfal github gitlab glibc glidein global golang "
        b"grab grafana grid group groups guide hadoop hash hcal header health heap hello hepmc high hist "
        b"hltd hold home hour html icon ideas igprof import include influx init inner install intel issue "
        b"item items java jenk jenkins jobs journal jupyter kafka keras kernel kill kubectl kubelet label "
        b"lapack last layer layout lcov legacy level lhapdf library libs line linker linux lists live llvm "
        b"load loader local lock locks logging logs loki loop lumi lumis machine macro magic mail main "
        b"make manual mariadb mask massif match math mathlib maven media memory merge merged mesh meta "
        b"metrics minio mirror misc mkfit mock mode model models mono month mount mover mpich mpirun multi "
        b"music nagios name names need nest next nfsd nginx nightly node nodes none note notebook notes "
        b"ntuple ntuples null numba number numpy nvcc nvidia offline offset online onnx open opencl opengl "
        b"openmpi openssl option oracle orbit order other outer package packages panda panel panic "
        b"parallel part pass patch patches path pause perf perfmon perl phase phedex photo photos phys "
        b"picture pictures pieces pileup pilot pipe pipeline pipes pkgs plain play playback plot plots "
        b"podman port postgres prefix print private probe process prod product profiles program project "
        b"projects prompt proof public puppet purge push pytest qemu quiet quota rack ramdisk random range "
        b"rate ratio read recent recipe record recover redis region reject release releases relval remote "
        b"render repair replay repo repos request rereco rerun reset result results retry review right "
        b"rocm root rootfs rotate route rpms rucio runner runs rustc safe sample samples save saved scale "
        b"scan scipy scitags scope scratch screen screens search secret section select selenium send "
        b"series service setup shared shell shift shifts shots show side signal silent single site sites "
        b"size skim skims sleep slice slot slurm snap snapshot soft solid sort sosrep source sources space "
        b"spack spare split squid stage staged staging start stat state states static stats status stderr "
        b"stdout step stop storage store stores stream streamer streams string study style submit suite "
        b"summary super support swap switch symbol syslog sysroot system systemd table tables tail take "
        b"tarball target task tasks tcmalloc telegraf temp temper template temps tensorfl tensors terminal "
        b"test testing tests text theano theme thread threads thrift tick ticket tidy time timer "
        b"token tomcat tool toolbox tools torch torchrun trace traces tracing track tracker tracking "
        b"tracks train transfer transit trees trigger triton tune tuning tuple turn type unit units unix "
        b"unpack user users valgrind value values vault vector velero vendor venv verify version video "
        b"view virtual visual volume voms vscode vtune wait walk warn watch webdav wget wheel wheels "
        b"wide window wire wizard wlcg wmcore word work workdir worker workers works world wrap wrapper "
        b"write xerces xray xrdcp xrdfs xrootd yaml yarn year zlib zone zookeep"
    ).split()
)
# Parts of words for programs and data that are in the name of hardly any account.
_TECHNICAL = re.compile(
    rb"build|calib|config|crash|deploy|docker|download|filter|geom|graph|histo|http|image|index|input|json"
    rb"|matrix|module|object|output|pixel|plugin|proxy|queue|report|sandbox|schema|script|server|session"
    rb"|socket|sql|squash|timing|trash|update|upload|ython"
    rb"|^(?:event|muon|scram|sync|spool)|^strips?$|(?<=[a-z]{3})(?:cache|conf|data|file|load|plot|prof|test)$"
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
