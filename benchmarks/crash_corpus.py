"""Logs of crashed jobs of many kinds, written in the formats of real ones, for tests and benchmarks.

A kind is a template. `$RUN`, `$EVENT`, `$LS`, `$PID`, `$TIME` and each `$A` (an address) are filled in
differently for each variation, and release, paths and lines of source code vary too: two variations are two
crashes of the same kind.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dqm2.records import CrashKind
from simulator.crash_log import fatal_exception, fatal_signal, in_frame

# ruff: noqa: E501 - lines of logs are long

_LIB = "/cvmfs/cms.cern.ch/el8_amd64_gcc12/cms/cmssw/$RELEASE/lib/el8_amd64_gcc12"
_BUILD = "/data/cmsbld/jenkins/workspace/auto-builds/$RELEASE-el8_amd64_gcc12/build/$RELEASE-build/tmp"
_EVENT = "   [0] Processing  Event run: $RUN lumi: $LS event: $EVENT stream: 0\n   [1] Running path 'p'\n"
_DQM_NOISE = (
    "%MSG-w SiStripRawToDigi:  SiStripRawToDigiModule:siStripDigis  $TIME Run: $RUN Event: $EVENT\n"
    "[sistrip::RawToDigiUnpacker::createDigis] NULL pointer to FEDRawData for FED id 134\n%MSG\n"
    "Begin processing the 63rd record. Run $RUN, Event $EVENT, LumiSection $LS on stream 0 at $TIME\n"
)


@dataclass(frozen=True, slots=True)
class CrashLog:
    """A kind of crash: the end of its log, and the reason for it.

    `message` is contained in the reason's message, `function` is the first of its frames.
    """

    name: str
    exit_code: int
    text: str
    kind: CrashKind
    category: str = ""
    module: str = ""
    message: str = ""
    function: str = ""

    def variation(self, number: int) -> str:
        """The log of one crash of this kind."""
        rng = random.Random(f"{self.name}/{number}")
        values: Mapping[str, str] = {
            "RUN": str(rng.randint(350_000, 400_000)),
            "LS": str(rng.randint(1, 900)),
            "EVENT": str(rng.randint(1, 10**9)),
            "PID": str(rng.randint(1000, 4_000_000)),
            "RELEASE": f"CMSSW_15_0_{rng.randint(0, 18)}",
            "TIME": f"{rng.randint(10, 28)}-Nov-2025 1{rng.randint(0, 9)}:{rng.randint(10, 59)}:40 CET",
            "SOURCE": str(rng.randint(20, 900)),
        }

        def fill(name: re.Match[str]) -> str:
            return f"0x{rng.getrandbits(48):016x}" if name[1] == "A" else values[name[1]]

        noise = _DQM_NOISE * rng.randint(1, 6)
        end = f"-- process exit: {self.exit_code} --\n"
        return re.sub(r"\$([A-Z]+)", fill, f"{noise}{self.text}{end}")


def _exception(category: str, context: str, message: str) -> str:
    return fatal_exception("$TIME", category, context, message)


def _calling(module: str, label: str) -> str:
    return (
        f"{_EVENT}   [2] Prefetching for module DQMRootOutputModule/'out'\n"
        f"   [3] Calling method for module {module}/'{label}'\n"
    )


def _signal(name: str, frames: tuple[tuple[str, str], ...], module: str) -> str:
    traced = "".join(
        f"#{at}  $A in {function} () from {_LIB}/{so}\n" for at, (function, so) in enumerate(frames, 5)
    )
    threads = (
        "Fri Nov 18 16:45:38 CET 2025\n"
        'Thread 3 (Thread $A (LWP $PID) "cmsRun"):\n'
        "#0  $A in select () from /lib64/libc.so.6\n"
        "#1  $A in DQMNet::run() () from /opt/offline/lib/libDQMServicesCore.so\n"
        'Thread 1 (Thread $A (LWP $PID) "cmsRun"):\n'
        "#0  $A in poll () from /lib64/libc.so.6\n"
        f"#1  $A in full_read.constprop () from {_LIB}/pluginFWCoreServicesPlugins.so\n"
        f"#3  $A in sig_dostack_then_abort () from {_LIB}/pluginFWCoreServicesPlugins.so\n"
        f"#4  <signal handler called>\n{traced}"
        f"#40 $A in edm::WorkerT<edm::stream::EDProducerAdaptorBase>::implDo(edm::EventTransitionInfo const&) ()"
        f" from {_LIB}/libFWCoreFramework.so\n"
        "#41 $A in main::{lambda()#1}::operator()() const ()\n#42 $A in main ()\n"
    )
    return fatal_signal(name, threads, module)


_ABORT = (
    ("raise", "libc.so.6"),
    ("abort", "libc.so.6"),
    ("__gnu_cxx::__verbose_terminate_handler()", "libstdc++.so.6"),
)

CRASH_LOGS = (
    CrashLog(
        "missing product",
        70,
        _exception(
            "ProductNotFound",
            _calling("EcalRecHitProducer", "ecalRecHit"),
            "Principal::getByToken: Found zero products matching all criteria\n"
            "Looking for type: EcalUncalibratedRecHits\nLooking for module label: ecalMultiFit\n\n"
            "   Additional Info:\n      [a] If you wish to continue processing events after a ProductNotFound\n",
        ),
        CrashKind.EXCEPTION,
        "ProductNotFound",
        "EcalRecHitProducer",
        "Principal::getByToken: Found zero products matching all criteria",
    ),
    CrashLog(
        "missing product of another module",
        70,
        _exception(
            "ProductNotFound",
            _calling("HcalReconstructor", "hbhereco@cpu"),
            "Principal::getByToken: Found zero products matching all criteria\nLooking for type: QIE11Digis",
        ),
        CrashKind.EXCEPTION,
        "ProductNotFound",
        "HcalReconstructor",
    ),
    CrashLog(
        "missing record",
        65,
        _exception(
            "NoProxyException",
            _calling("SiPixelDigiErrors", "siPixelErrors"),
            'No data of type "SiPixelQuality" with label "" in record "SiPixelQualityRcd".\nPlease add one.',
        ),
        CrashKind.EXCEPTION,
        "NoProxyException",
        "SiPixelDigiErrors",
        'No data of type "SiPixelQuality"',
    ),
    CrashLog(
        "array bound",
        66,
        _exception(
            "StdException",
            _calling("L1TDigiToRaw", "packGmtStage2"),
            "A std::exception was thrown.\narray::at: __n (which is 6) >= _Nm (which is 6)",
        ),
        CrashKind.EXCEPTION,
        "StdException",
        "L1TDigiToRaw",
        "array::at",
    ),
    CrashLog(
        "corrupt data",
        65,
        _exception(
            "CorruptedData",
            _calling("SiStripZeroSuppression", "hltSiStripZeroSuppression"),
            "[SiStripNoises::allNoises] Requested noise for 640 strips, I have it only for 512 strips",
        ),
        CrashKind.EXCEPTION,
        "CorruptedData",
        "SiStripZeroSuppression",
        "Requested noise for",
    ),
    CrashLog(
        "exception without its frame",
        65,
        "An exception of category 'VertexException' occurred while\n"
        + _calling("PrimaryVertexProducer", "pv")
        + "Exception Message:\nBasicSingleVertexState::could not invert error matrix\n\n",
        CrashKind.EXCEPTION,
        "VertexException",
        "PrimaryVertexProducer",
        "could not invert error matrix",
    ),
    CrashLog(
        "state machine",
        65,
        "%MSG-e StateMachine:  PostGlobalEndRun $TIME  PostGlobalEndRun\nThe EventProcessor state machine "
        "encountered an unexpected event\n\n%MSG\n"
        + _exception(
            "BadTransition",
            "   [0] Calling EventProcessor::runToCompletion (which does almost everything after beginJob)\n",
            "Unexpected transition change 5",
        ),
        CrashKind.EXCEPTION,
        "BadTransition",
        "",
        "Unexpected transition change 5",
    ),
    CrashLog(
        "logic error at a run's end",
        74,
        _exception(
            "LogicError",
            "   [0] Processing global end Run run: $RUN\n   [1] Calling method for module QualityTester/'qTester'\n",
            "QualityTester: the test 'MeanWithinExpected' has no range",
        ),
        CrashKind.EXCEPTION,
        "LogicError",
        "QualityTester",
        "has no range",
    ),
    CrashLog(
        "ROOT",
        86,
        in_frame(
            "$TIME",
            "An exception of category 'FatalRootError' occurred while\n"
            + _calling("DQMFileSaverPB", "dqmSaverPB")
            + "   Additional Info:\n      [a] Fatal Root Error: @SUB=TKey::ReadFile\nFailed to read data.\n\n",
        ),
        CrashKind.EXCEPTION,
        "FatalRootError",
        "DQMFileSaverPB",
        "TKey::ReadFile",
    ),
    CrashLog(
        "file that can't be opened",
        84,
        _exception(
            "FileOpenError",
            "   [0] Constructing the EventProcessor\n   [1] Constructing input source of type DQMStreamerReader\n",
            "Failed to open the file '/fff/BU0/ramdisk/run$RUN/run$RUN_ls0001.dat'",
        ),
        CrashKind.NO_INPUT,
        "FileOpenError",
        "DQMStreamerReader",
        "Failed to open the file",
    ),
    CrashLog(
        "file and fallback that can't be opened",
        92,
        _exception(
            "FallbackFileOpenError",
            "   [0] Constructing the EventProcessor\n   [1] Constructing input source of type PoolSource\n"
            "   [2] Calling XrdFile::open()\n",
            "Failed to open the file 'root://xrootd-cms.infn.it//store/x$RUN.root'",
        ),
        CrashKind.NO_INPUT,
        "FallbackFileOpenError",
        "PoolSource",
    ),
    CrashLog(
        "Python configuration",
        90,
        _exception(
            "ConfigFileReadError",
            "   [0] Processing the python configuration file named ./clients/l1t_dqm_sourceclient-live_cfg.py\n",
            " unknown python problem occurred.\n"
            "AttributeError: 'Process' object has no attribute 'totemTriggerRawToDigi'\n\nAt:\n"
            "  ./clients/l1t_dqm_sourceclient-live_cfg.py($SOURCE): <module>\n",
        ),
        CrashKind.CONFIGURATION,
        "ConfigFileReadError",
        "",
        "AttributeError: 'Process' object has no attribute 'totemTriggerRawToDigi'",
    ),
    CrashLog(
        "unknown parameter",
        73,
        _exception(
            "Configuration",
            "   [0] Constructing the EventProcessor\n"
            "   [1] Constructing module: class=CSCMonitorModule label='dqmCSCClient'\n",
            "Illegal parameter found in configuration.  The parameter is named:\n 'maxDiggi'",
        ),
        CrashKind.CONFIGURATION,
        "Configuration",
        "CSCMonitorModule",
        "Illegal parameter found in configuration",
    ),
    CrashLog(
        "missing plugin",
        65,
        _exception(
            "PluginNotFound",
            "   [0] Constructing the EventProcessor\n",
            "Unable to find plugin 'GEMDQMSource' in category 'CMS EDM Framework Module'.",
        ),
        CrashKind.CONFIGURATION,
        "PluginNotFound",
    ),
    CrashLog(
        "import of a module",
        1,
        'Traceback (most recent call last):\n  File "beam_dqm_sourceclient-live_cfg.py", line $SOURCE, in <module>\n'
        "    from DQM.Integration.config.online_customizations_cfi import *\n"
        "ModuleNotFoundError: No module named 'DQM.Integration.config'\n",
        CrashKind.CONFIGURATION,
        "ModuleNotFoundError",
        "",
        "No module named 'DQM.Integration.config'",
    ),
    CrashLog(
        "shared library",
        127,
        "cmsRun: error while loading shared libraries: libtbb.so.12: cannot open shared object file: "
        "No such file or directory\n",
        CrashKind.CONFIGURATION,
        message="libtbb.so.12",
    ),
    CrashLog(
        "Frontier",
        66,
        "warn [fn-htclient.c:418]: Trying next proxy 10-3-0-1\n"
        + _exception(
            "StdException",
            "   [0] Constructing the EventProcessor\n   [1] Constructing ESSource: class=PoolDBESSource label='GlobalTag'\n",
            "A std::exception was thrown.\nCan not get data (Additional Information: [frontier.c:1136]: No more "
            "proxies. Last error was: Request 8 on chan 1 failed at Wed Feb 18 22:07:12 2026: -8 "
            '[fn-htclient.c:444]: server error) ( CORAL : "coral::FrontierAccess::Statement::execute" from '
            '"CORAL/RelationalPlugins/frontier" )',
        ),
        CrashKind.DATABASE,
        "StdException",
        "",
        "No more proxies",
    ),
    CrashLog(
        "Oracle",
        66,
        _exception(
            "ConditionDatabase",
            _EVENT + "   [2] Calling method for module PopConSourceHandler/'handler'\n",
            "ORA-28001: the password has expired (authenticating) from OracleSession",
        ),
        CrashKind.DATABASE,
        "ConditionDatabase",
        "PopConSourceHandler",
        "ORA-28001",
    ),
    CrashLog(
        "memory of a module",
        68,
        _exception(
            "BadAlloc",
            _calling("MixingModule", "mix"),
            "A std::bad_alloc exception was thrown.\n"
            "The job has probably exhausted the virtual memory available to the process.",
        ),
        CrashKind.OUT_OF_MEMORY,
        "BadAlloc",
        "MixingModule",
        "exhausted the virtual memory",
    ),
    CrashLog(
        "memory control group",
        -9,
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=$PID.batch cgroup.\nKilled\n",
        CrashKind.OUT_OF_MEMORY,
        message="oom-kill",
    ),
    CrashLog(
        "uncaught bad_alloc",
        134,
        "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n\n"
        + _signal(
            "abort signal", (*_ABORT, ("TH2F::TH2F(char const*, int)", "libHist.so")), "HcalMonitor:hcal"
        ),
        CrashKind.OUT_OF_MEMORY,
        "std::bad_alloc",
        "HcalMonitor",
    ),
    CrashLog("killed", -9, "", CrashKind.KILLED, "SIGKILL"),
    CrashLog(
        "killed in a shell",
        137,
        "./run.sh: line $SOURCE: $PID Killed    cmsRun $1\n".replace("$1", "x"),
        CrashKind.KILLED,
        "SIGKILL",
    ),
    CrashLog(
        "terminated",
        -15,
        _signal("external termination request", (("epoll_wait", "libc.so.6"),), "DQMStreamerReader:source"),
        CrashKind.KILLED,
        "SIGTERM",
        "DQMStreamerReader",
    ),
    CrashLog(
        "timeout",
        124,
        "timeout: sending signal TERM to command ‘cmsRun’\n",
        CrashKind.TIMEOUT,
        message="sending signal TERM",
    ),
    CrashLog(
        "event timeout",
        79,
        _exception("EventTimeout", _calling("RecoTauTag", "tau"), "The event took more than 600 s"),
        CrashKind.TIMEOUT,
        "EventTimeout",
        "RecoTauTag",
    ),
    CrashLog(
        "segmentation violation in a client",
        -11,
        _signal(
            "segmentation violation",
            (
                (
                    "RPCDcsInfoClient::dqmEndJob(dqm::implementation::IBooker&, int)",
                    "pluginDQMRPCMonitorClient.so",
                ),
                (
                    "non-virtual thunk to DQMEDHarvester::endProcessBlockProduce(edm::ProcessBlock&)",
                    "libDQM.so",
                ),
            ),
            "RPCDcsInfoClient:rpcDcsInfo",
        ),
        CrashKind.SIGNAL,
        "SIGSEGV",
        "RPCDcsInfoClient",
        "Segmentation violation",
        "RPCDcsInfoClient::dqmEndJob",
    ),
    CrashLog(
        "segmentation violation in another place",
        139,
        _signal(
            "segmentation violation",
            (
                ("void std::vector<int>::push_back(int const&)", "pluginDQMCSC.so"),
                ("(anonymous namespace)::fill(int)", "pluginDQMCSC.so"),
                ("CSCMonitorModule::analyze(edm::Event const&, edm::EventSetup const&)", "pluginDQMCSC.so"),
            ),
            "CSCMonitorModule:dqmCSCClient",
        ),
        CrashKind.SIGNAL,
        "SIGSEGV",
        "CSCMonitorModule",
        "Segmentation violation",
        "(anonymous namespace)::fill",
    ),
    CrashLog(
        "segmentation violation outside of modules",
        -11,
        _signal("segmentation violation", (("DQMNet::logme()", "libDQMServicesCore.so"),), "non-CMSSW"),
        CrashKind.SIGNAL,
        "SIGSEGV",
        "",
        "Segmentation violation",
        "DQMNet::logme",
    ),
    CrashLog(
        "floating point",
        -8,
        _signal("floating point exception", (("BeamFitter::fit()", "libDQMBeam.so"),), "BeamMonitor:beam"),
        CrashKind.SIGNAL,
        "SIGFPE",
        "BeamMonitor",
    ),
    CrashLog(
        "segmentation fault in a shell",
        139,
        "/cmsnfs/runtest.sh: line 19: $PID Segmentation fault      (core dumped) cmsRun cfg.py unitTest=True\n",
        CrashKind.SIGNAL,
        "SIGSEGV",
        "",
        "Segmentation fault",
    ),
    CrashLog(
        "heap corruption",
        134,
        "double free or corruption (!prev)\n"
        + _signal("abort signal", (*_ABORT, ("TProfile::~TProfile()", "libHist.so")), "ESMonitor:es"),
        CrashKind.SIGNAL,
        "SIGABRT",
        "ESMonitor",
        "double free or corruption",
    ),
    CrashLog(
        "assertion",
        -6,
        f"cmsRun: {_BUILD}/src/CalibCalorimetry/EcalLaserAnalyzer/src/MEEBGeom.cc:$SOURCE: static int "
        "MEEBGeom::sm(MEEBGeom::EBGlobalCoord): Assertion `ieta > 0 && ieta <= 85' failed.\n"
        + _signal(
            "abort signal",
            (
                ("raise", "libc.so.6"),
                ("__assert_fail_base.cold.0", "libc.so.6"),
                ("MEEBGeom::sm(short)", "libEcal.so"),
            ),
            "EcalDQMonitorTask:ecalMonitorTask",
        ),
        CrashKind.ASSERTION,
        "",
        "EcalDQMonitorTask",
        "Assertion `ieta > 0 && ieta <= 85' failed",
        "MEEBGeom::sm",
    ),
    CrashLog(
        "assertion on a GPU",
        -6,
        f"{_BUILD}/PixelRecHits.h:$SOURCE: void alpaka_cuda_async::pixelRecHits::GetHits<T>::operator()(int) const"
        ": block: [$LS,0,0], thread: [64,0,0] Assertion `h < clusters[me + 1].clusModuleStart()` failed.\n",
        CrashKind.ASSERTION,
        message="h < clusters[me + 1].clusModuleStart()",
    ),
    CrashLog(
        "CUDA check",
        -6,
        "terminate called after throwing an instance of 'std::runtime_error'\n  what():  \n"
        "src/HeterogeneousCore/CUDAUtilities/interface/eventWorkHasCompleted.h, line $SOURCE:\n"
        "cudaCheck(ret);\ncudaErrorECCUncorrectable: uncorrectable ECC error encountered\n\n"
        + _signal("abort signal", _ABORT, "HcalDigisProducerGPU:hcalDigis"),
        CrashKind.CUDA,
        "cudaErrorECCUncorrectable",
        "HcalDigisProducerGPU",
        "uncorrectable ECC error",
    ),
    CrashLog(
        "alpaka",
        66,
        _exception(
            "StdException",
            _calling("PFRecHitSoAProducerHCAL@alpaka", "hltParticleFlowRecHitHBHESoA"),
            f"A std::exception was thrown.\n{_BUILD}/EventUniformCudaHipRt.hpp($SOURCE) 'TApi::eventRecord(queue)' "
            "returned error  : 'cudaErrorIllegalAddress': 'an illegal memory access was encountered'!",
        ),
        CrashKind.CUDA,
        "cudaErrorIllegalAddress",
        "PFRecHitSoAProducerHCAL@alpaka",
        "an illegal memory access",
    ),
    CrashLog(
        "alpaka while memory is freed",
        -6,
        f"{_BUILD}/BufUniformCudaHipRt.hpp($SOURCE) 'TApi::free(ptr)' returned error  : 'cudaErrorLaunchFailure': "
        "'unspecified launch failure'!\nterminate called without an active exception\n"
        + _signal("abort signal", _ABORT, "none"),
        CrashKind.CUDA,
        "cudaErrorLaunchFailure",
        "",
        "unspecified launch failure",
    ),
    CrashLog(
        "fault of an AMD GPU",
        134,
        "Memory access fault by GPU node-1 (Agent handle: $A) on address $A. Reason: Page not present.\n"
        "Aborted (core dumped)\n",
        CrashKind.CUDA,
        "Memory access fault",
        message="on address",
    ),
    CrashLog(
        "fatal message of TensorFlow",
        134,
        "2025-11-05 12:00:00.123456: F tensorflow/core/framework/tensor.cc:$SOURCE] Check failed: IsAligned() \n"
        "Aborted (core dumped)\n",
        CrashKind.ASSERTION,
        message="Check failed: IsAligned() in tensor.cc:",
    ),
    CrashLog(
        "memory freed twice",
        134,
        "free(): double free detected in tcache 2\n" + _signal("abort signal", _ABORT, "ESMonitor:es"),
        CrashKind.SIGNAL,
        "SIGABRT",
        "ESMonitor",
        "free(): double free detected in tcache 2",
    ),
    CrashLog(
        "assertion of the C library",
        134,
        "Fatal glibc error: malloc.c:$SOURCE (sysmalloc): assertion failed: (old_top == initial_top (av))\n",
        CrashKind.SIGNAL,
        "SIGABRT",
        message="assertion failed: (old_top",
    ),
    CrashLog(
        "address sanitizer",
        1,
        "==$PID==ERROR: AddressSanitizer: heap-use-after-free on address $A at pc $A bp $A sp $A\n"
        "WRITE of size 4 at $A thread T0\n"
        f"    #0 $A in operator delete(void*) (/lib64/libasan.so.8+0x1)\n"
        f"    #1 $A in QualityTester::fill(int) ({_LIB}/pluginDQM.so+0x3a6406)\n\n"
        f"freed by thread T0 here:\n    #0 $A in Other::f() ({_LIB}/pluginDQM.so+0x3a6407)\n",
        CrashKind.SIGNAL,
        "AddressSanitizer",
        "",
        "AddressSanitizer: heap-use-after-free",
        "QualityTester::fill",
    ),
    CrashLog(
        "out of memory by the kernel",
        137,
        "Memory cgroup out of memory: Killed process $PID (cmsRun)\nKilled\n",
        CrashKind.OUT_OF_MEMORY,
        message="Killed process",
    ),
    CrashLog(
        "version of a library",
        1,
        "cmsRun: /lib64/libstdc++.so.6: version `GLIBCXX_3.4.29' not found (required by cmsRun)\n",
        CrashKind.CONFIGURATION,
        message="GLIBCXX_3.4.29",
    ),
    CrashLog(
        "program that is missing",
        127,
        "/bin/sh: line 1: cmsRun: No such file or directory\n",
        CrashKind.CONFIGURATION,
        "error",
        message="cmsRun: No such file",
    ),
    CrashLog(
        "syntax of a configuration",
        1,
        "  File \"csc_cfg.py\", line $SOURCE\n    process.x = cms.Path(\nSyntaxError: '(' was never closed\n",
        CrashKind.CONFIGURATION,
        "SyntaxError",
        message="was never closed",
    ),
    CrashLog("no reason", 3, "", CrashKind.UNKNOWN),
    CrashLog("only a code of CMSSW", 86, "", CrashKind.EXCEPTION, "FatalRootError"),
)
