"""Redaction leaves what is not sensitive: the reason of a failure must stay readable, line by line."""

import pytest

from dqm2.pseudonyms import default_label
from dqm2.redaction.redactor import Redactor

# The forms that the logs of DQM's clients, and of the mirror itself, are full of.
LINES = """\
Loaded configuration file from: ['/etc/dqm_run_config']
Initial Source settings: cms.Source("DQMStreamerReader",
    SelectEvents = cms.untracked.vstring('HLT*SingleMu*'),
    nextLumiTimeoutMillis = cms.untracked.int32(240000),
    runInputDir = cms.untracked.string('/fff/BU0/ramdisk'),
'runInputDir=/fff/BU0/ramdisk', 'runNumber=358788', 'runkey=cosmic_run'
/dqm_cmssw/production_0909_CMSSW_12_4_8_39145_39162/src/DQM/Integration/python/clients/ecal_dqm_sourceclient-live_cfg.py
CMSSW_12_4_8 CMSSW_14_1_0_pre3 CMSSW_13_0_5_patch1 12_4_8_39145_39162 12.4.8 v1.2.3.4
124X_dataRun3_Express_v5 DD4hep_ExtendedGeometry2021 XMLFILE_Geometry_123YV1_Extended2021_mc TrackerAlignment_v2b10_1
15-Sep-2022 13:07:36 CEST  Found and skipped json file (stream label mismatch, streamDQM [files] != streamDQMHistograms [config])
15-Sep-2022 13:45:41 CEST  EoR file found: /fff/BU0/ramdisk/run358788/run358788_ls0000_EoR.jsn
15-Sep-2022 13:45:41 CEST  Streamer state changed: 0->1
15-Sep-2022 13:45:46 CEST  Writing DQM Root file: ./upload/DQM_V0001_BeamMonitorLegacy_R000358788.root
-- process exit: -9 --
TrigReport Events total = 1176 passed = 1172 failed = 4
TrigReport          0          0          0          0          0 hcalGPUComparisonTask
TimeReport   0.000011     0.013079     0.000000  siPixelDigis@cpu
TimeReport ---------- Modules in End-Path: dqmPath1 ---[Real sec]----
TrigReport -------End-Path   Summary ------------
--------------------- end of LS 1
%MSG-i BeamSpotDipServer:  BeamSpotDipServer:beamSpotDipServer@endLumi  15-Sep-2022 13:07:58 CEST Run: 358788 Lumi: 1
%MSG-w Unexpected:  @finishedCallESModule  15-Sep-2022 13:07:44 CEST Run: 358788 Event: 3902
Begin processing the 1st record. Run 358788, Event 3902, LumiSection 1 on stream 3 at 15-Sep-2022 13:07:44.650 CEST
edm::global, edm::stream, edm::one, or in rare cases edm::limited.
[beampixel_dqm_sourceclient-live_cfg]::running pp
DQMFileSaver::globalEndRun() a::b a1::b2 dd::c0::ff00 std::array<int, 4>::at
edm::WorkerT<edm::stream::EDProducerAdaptorBase>::implDo(edm::EventTransitionInfo const&) tbb::detail::d1::task
EDGetToken, ESGetTokenH3DDVariant and edm::EDGetTokenT<reco::TrackCollection>; User::name, Token::value
09/15/22 11:07:39 [140082164709184] ERROR system.dimerror %% - DIM message
server started at 2022.09.15 13:07:39 +0200
Basic authentication, Basic Configuration: basic dqmServices, mysql -p dqm, mysqlclient -P 3306
password 'must not be empty', the password "is required", password "missing"
checking for the host: HOST: not found, DB_HOST= unset
password authentication = off, /var/mailbox/x and /store/temp/x.root
2022-09-15 13:08:27.552 DQMNet[41550]: WARNING: source not responding in 0.5s to update, have 607 data available
       X0     = 0.172795 +/- 5.76682e-07 [cm]
 Magnetic field is 2.02203 Template Magnetic field is 3.8
358788/3902      358788/9258      358788/166061
sending (Uncertain | No new data for 1 LS)
could not get the reco::TrackCollection.hltTracksMerged
1.3.6.1.4.1.11129 300.1.1.1 10.0.0 1.2.3.400
guid=A1B2C3D4-0000-1111-2222-333344445555 uuid=1 nuser 5, user 0.5 s, sys 0.1 s
/etc/passwd: no such file; the secret is safe, token expired, tokens left
if ntokens > 5 and token_count < 7, password required
----- BEGIN EVENT LOOP ----- and -----END EVENT LOOP-----
hash 0x8000 0x0001 0xffff, EB-09, FED 1217, (ieta, iphi) = (-17, 43)
https://cmsoms.cern.ch/cms/runs/report?cms_run=358788&cms_run_sequence=GLOBAL-RUN https://cmsweb.cern.ch/dqm/
/afs/cern.ch/cms/caf and /eos/cms/store
mirrored host=dqmfu-c2b03-.. documents=120 rev=7911217 seconds=0.41
"""  # noqa: E501 - lines as they are


# Reasons of failures and source code that resemble secrets, addresses or users.
REASONS = """\
Principal::getByToken: Found zero products matching all criteria
InvalidESGetToken: No "X" record found in the EventSetup for synchronization value
An exception of category 'InvalidESGetToken' occurred while
EDGetToken: 5
Attempted to get data using an invalid token of type ESGetToken<TrackerGeometry,TrackerDigiGeometryRecord>.
   fooToken_ = consumes<reco::TrackCollection>(iConfig.getParameter<edm::InputTag>("src"));
fooToken = cms.untracked.InputTag("x")
    token = cms.InputTag("siPixelDigis"),
    eleIdToken = esConsumes<Setup, Record>(edm::ESInputTag("", "x"));
Module: SiPixelRecHitFromCUDA:siPixelRecHitsPreSplitting@cuda (crashed)
#5  0x00007f2b9d4e0e1c in edm::EventProcessor::runToCompletion() () from /cvmfs/cms.cern.ch/el8_amd64_gcc11/cms/cmssw/CMSSW_13_0_6/lib/el8_amd64_gcc11/libFWCoreFramework.so
/cvmfs/cms-ib.cern.ch/week0/el8_amd64_gcc12/external/gcc/12.3.1-40d504be6370b5a30e3947a6e575ca28/lib64/libstdc++.so.6
/cvmfs/cms.cern.ch/el8_amd64_gcc12/external/dim/20.37.0.1-abc/lib/libdim.so.20.37.0.1
==12345==    by 0x4C3: edm::Path::run (in /cvmfs/cms.cern.ch/el8_amd64_gcc12/lib/libFWCore.so)
dim version 1.1.0.4, DIM Version: 20.37.0.1, driver version is 5.104.5.1, numpy-1.24.3.1
unexpected token: end of file; Token: expired; password: wrong
    password = os.environ['X_PASSWORD']
    password = getpass.getpass()
    connection = connect(host=self.host, password=self.password)
KeyError: 'X_PASSWORD'
ORA-01017: invalid username/password; logon denied
FATAL: password authentication failed
--password is required; credentials: no valid credentials found
password = None, password_file=/etc/dqm/x, passwordless = 1, n_tokens=5
Enter the secret: the run's key is missing
Pass: 3 of 5; pass = 12; bypass = on; lowPass = 0.5; compass: 3
User: no such user; user = None
/CN=CERN Grid Certification Authority
docker run -u 1000:1000 and python -u script.py
.git/hooks/pre-commit hook declined
std::a1::b2 edm::c0de::x aa:bb:cc:dd:ee:ff 0000:3b:00.0
CMSSW stack: hltSiPixelClusters@serialSync, hltX@cuda, label@alpaka
EventPrincipal=5, owner = 0x7f1234, Principal = edm::RunPrincipal, user=0m0.52s sys=0.1
session_id=3, magic cookie = 0x5f, bad cookie: 0xdead, passwordCallback=0x1
HTTP/1.1 401 Unauthorized, WWW-Authenticate: Bearer realm="https://x.example.org/token"
password=[secret]: refused, [secret] = x, [token]: y, setenv TOKEN_COUNT 5, indexOf[token] = 3, a-0c2f11-19-01a ls_c2f11_001, setenv PATH /x
Pass: 3/5, pass = 98.5%, HOST=localhost HOSTNAME=localhost
Killed by user, exception in user code. Stopped by user request. As set for user modules, see the guide.
Caught signal sent by user process, time spent in user space: 12, login as follows, UserWarning: user provided 3 inputs
as user input from the command line, invalid user configuration
Enter password twice: password version 2 of 3, password policy: pass-phrase; passwords are encrypted with AES256
$1 $2 $5$6 cost $15, sort -u x, date -u, curl -sSf -o out https://x.example.org, psql -c 'select 1', docker run -p 80:80 x
name: DB_HOST, "name": "beam", "value": 5, Signature=ok, sig=3, uid 12, user-defined
    def connect(user: str = None, password: str | None = None, token: str) -> None:
curl -s https://x.example.org | sort -u runs.txt; docker login r && docker run -p 8080:80 img
mysql db < d.sql; mkdir -p/data/x; lsof -p1234
Time: user CPU, 5.2 user seconds. - user selection, reason: user quota, (user abort), "user comment"
user cpu: 5, XrdSec: x; user authenticated, Please wait for user confirmation. Interrupted by user signal
Failed lookup for EcalPedestals from tag, Failed query for run355555 from OMDS
UID 123e4567-e89b-12d3, uid 123456789012345, fed uid 512, Login as required, login as usual
numpy>=1.22.4.1, root 6.26.11.1, cudnn: 8.9.2.26, CUDA 12.4.1.2
SHA1 Fingerprint=AA:BB:01:02:03:04:05:06:07:08 and 50:06:01:60:08:60:22:33
Virtual Identity: [authz:krb5] sss authz:unix, auth=gsi, authz=sss
Is it done ? yes, x ? y : z, 12 34 ? 5, found 12 0.5 0.6 7 8 ? no
on pts/0 10.1, tty1 is free, opened pts/0 for writing, a -- 1 2 3, x +- 1 2 3 y
module 12 S 99.7 1.2 1:23.45 x, cluster ID: 12 at 9/15 13:07 done, 3.0 of 9/15 13:07
file.cc:1234:foo: error, x.h:1234:std::vector, EcalDigi:1234:a:b c, siPixel:12:a:b:c
label:x:12:3: and a:*:1: in foo:x:bar
Total for EB: 12 jobs done, Total for run: 12, chown: not permitted, kinit: failed
the 3.0 nb at 9/15 13:07 ok, 1234567.0 hits 9/15 13:07 end, $field =~tr/-/_/; std::~string/x.cc
hltL1:5000:foo:bar:baz and x.cc:1234:a:b:c, qw(chown utime kill), the chown giveaway
real/user/sys 5.2, %MSG-w fileAction: file_open -s 1 1, #5 0x0 in ?? (), x ? 1 : 0
(to be) sure on demand, su: authentication failure, cron[1]: started
the top -5 events, 5 ps -1, groups of maps -u, steps - u, zip -9 x, 7z x y.7z
~edm::Event() and ~Foo/bar x~y/z ~/x.py, ~20/30
Author: see <a href="x">, cn=5, cn=3,4, stat: Uid: none
Error in <TFile::Init>: file /fff/BU0/ramdisk/x.root has an incorrect header length
\\/tmp\\/tmpab12\\/x \\/tmp\\/tmpabcde\\/x /tmp/run392642/x /tmp/root/x /tmp/dqm/x /var/tmp/cache/x /tmp/lock /tmp/foo.root /tmp/ccXy12.o
/build/cmsbld/jenkins/workspace/x /build/source/src/x.c /build/CMSSW_12_4_8/x /build/glibc-abc123/x.c
CMSSW_12_4_8/tmp/stuff/x ${BASE}/tmp/stuff/x ../build/stuff/x /usr/src/build/stuff/x {x}/scratch/stuff/x
https://github.com/cms-sw/cmssw/pull/39145 https://github.com/nlohmann/json https://github.com/root-project/root
https://github.com/dmwm/WMCore https://github.com/cms-data/DQM-Integration https://github.com/xrootd/xrootd/issues/1
Merge pull request #39145 from cms-sw/fix, git cms-merge-topic 39145, git cms-checkout-topic -u CmsHI:forest
submitted by the framework, submitted by crab at 13:07, requested by module, Requested by: module, approved by experts.
Created by: ROOT 6.22, Created by ROOT Team, started by: systemd, Locked by: another process, reviewed by hand on 5
committed by 3 clients, reported by EcalDQM at 5, authored by none, modified by: plugin, approved by x/y
column name not found: x, user name: not set, owned by: none, sshd: no hostkeys available, frontier-id: CMSSW_12_4_8
15-Sep-2022 13:07:36 CEST 13:07:36 x, [ERROR 0:02 ] TIMEOUT 12:34:56 after, a b 5 c OK 12:34:56 x
tcp LISTEN 0 128 *:22 *:*, ESTABLISHED connection 5, CLOSE file 12 - done, LISTEN socket 12, CLOSE_WAIT x 5
the Exp decay, INFO | main | 2022-09-15 13:07:01 | x, CANCELLED by 12, of user 12, cancelled by scheduler
zip code 5, unzip -p x.zip y, 7z l x.7z, htpasswd -c file x, htpasswd -b
x.zip -Px, echo hello | grep x, echo $PASSWORD | sudo -S ls, echo x | tee sudo, echo done | sudo tee x, echo a b | kinit
[Warning][File] [0x7f2b1c@root://eoscms:1094//eos/cms/x.root?xrdcl.requuid=0123-4567] File has a recovery procedure
        self.post_token = post_token, self._username = handler.username, token = request.access_token, (user=user)
        password: typing.Optional[bytes], token: Union[str, None] = None, self._key = key[:16], secret=$SECRET
    client_secret = kwargs.pop('client_secret', None), lambda user: user.name, assert owner == expected_owner
    cmd = "--user=" + user, headers['Authorization'] = ', '.join(header), 'OAuth': ('sign', 'encode')
objects that can be identified by small integers, end-user authentication, End-User consent.
condor_q 1234567.0, condor_rm 123, condor_q -better-analyze 1, squeue -l, sacct -j 123
"""  # noqa: E501 - lines as they are


def test_it_leaves_each_line_of_a_log() -> None:
    lines = [*LINES.splitlines(), *REASONS.splitlines()]
    redact = Redactor(("dqmfu-c2b03-45-01",), ("cmsweb.cern.ch", "cmsoms.cern.ch"))
    assert {line: redact(line) for line in lines} == {line: line for line in lines}


def test_it_leaves_a_value_in_the_line_behind_a_word() -> None:
    text = "Missing token\nvalue: EcalRecHitsEB\nNo cookie\nvalue = abc"
    assert Redactor()(text) == text


@pytest.mark.parametrize("host", ["dqmfu-c2b03-45-01", "fu-c2f11-11-04", "srv-c2d05-15", "gateway"])
def test_it_leaves_labels(host: str) -> None:
    text = f"host={default_label(host)} host={default_label(host)}·2"
    assert Redactor((host,))(text) == text


def test_it_leaves_the_sentence_around_what_it_replaces() -> None:
    line = (
        "15-Sep-2022 13:07:36 CEST  Found and loaded json file: /fff/BU0/ramdisk/run358788/"
        "run358788_ls0001_streamDQMGPUvsCPU_sm-c2a11-43-01.jsn"
    )
    assert Redactor()(line) == line.replace("sm-c2a11-43-01", "[host]")


def test_it_leaves_text_of_all_languages() -> None:
    text = "Δφ = 3.2°, µ = 5 · 10⁻⁴ — «натрий», 日本語, ٣ ½ 😀"
    assert Redactor()(text) == text
