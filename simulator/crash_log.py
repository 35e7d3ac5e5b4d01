"""Last lines of the log of a job that crashed, in the formats of real ones.

The exit code and a random generator decide on the kind of crash, so that the log and the code agree.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Signals that `cmsRun` reports; it has no handler for others.
_SIGNAL_NAMES = {
    -4: "illegal instruction",
    -6: "abort signal",
    -7: "bus error",
    -8: "floating point exception",
    -11: "segmentation violation",
    -15: "external termination request",
}
_MODULES = {
    "beam": "BeamMonitor",
    "csc": "CSCMonitorModule",
    "ctpps": "CTPPSPixelDQMSource",
    "dt": "DTDataIntegrityTask",
    "ecal": "EcalDQMonitorTask",
    "es": "ESIntegrityTask",
    "gem": "GEMDQMHarvester",
    "hcal": "DigiTask",
    "hlt": "TriggerRatesMonitor",
    "l1t": "L1TStage2uGMT",
    "pixel": "SiPixelPhase1RawDataErrorComparator",
    "rpc": "RPCDcsInfoClient",
    "sistrip": "SiStripMonitorCluster",
}
_FRAMEWORK = (
    (
        "edm::WorkerT<edm::stream::EDProducerAdaptorBase>::implDo(edm::EventTransitionInfo const&, "
        "edm::ModuleCallingContext const*)"
    ),
    (
        "std::__exception_ptr::exception_ptr edm::Worker::runModuleAfterAsyncPrefetch<edm::OccurrenceTraits<"
        "edm::EventPrincipal, (edm::BranchActionType)1> >(std::__exception_ptr::exception_ptr)"
    ),
    "tbb::detail::r1::task_dispatcher::local_wait_for_all(tbb::detail::d1::task*)",
    "edm::EventProcessor::runToCompletion()",
)
_SOURCE = "   [1] Constructing input source of type DQMStreamerReader\n"


@dataclass(frozen=True, slots=True)
class Crash:
    """A job at its end; `release` is a path of CMSSW, `at` the time as in logs."""

    client: str
    release: str
    run: int
    lumisection: int
    file: str
    at: str
    exit_code: int

    @property
    def module(self) -> str:
        """Type of the client's module."""
        names = (name for name in _MODULES if self.client.startswith(name))
        return _MODULES.get(next(names, ""), "QualityTester")

    @property
    def label(self) -> str:
        """Label of the client's module."""
        return f"{self.client}Monitor"


_Cause = Callable[[Crash, random.Random], list[str]]


def in_frame(at: str, text: str) -> str:
    """The frame that CMSSW prints around a fatal exception."""
    begin = f"----- Begin Fatal Exception {at}-----------------------\n"
    return f"{begin}{text}----- End Fatal Exception -------------------------------------------------\n"


def fatal_exception(at: str, category: str, context: str, message: str) -> str:
    """CMSSW's message about a fatal exception."""
    begin = f"An exception of category '{category}' occurred while\n"
    return in_frame(at, f"{begin}{context}Exception Message:\n{message}\n")


def fatal_signal(name: str, threads: str, module: str) -> str:
    """CMSSW's message about a signal; `threads` are the stack traces of the threads."""
    return (
        f"\n\nA fatal system signal has occurred: {name}\n"
        "The following is the call stack containing the origin of the signal.\n\n"
        f"{threads}\nCurrent Modules:\n\nModule: {module} (crashed)\nModule: none\n\n"
        f"A fatal system signal has occurred: {name}\n"
    )


def last_lines(crash: Crash, rng: random.Random) -> list[str]:
    """The lines in which a crash is reported."""
    if crash.exit_code < 0:
        return _by_signal(crash, rng) if crash.exit_code in _SIGNAL_NAMES else []
    return rng.choice(_EXCEPTIONS.get(crash.exit_code, (_corrupt_data,)))(crash, rng)


def _by_signal(crash: Crash, rng: random.Random) -> list[str]:
    cause = rng.choice(_ABORTS)(crash, rng) if crash.exit_code == -6 else []
    name = _SIGNAL_NAMES[crash.exit_code]
    method = rng.choice(("analyze", "dqmEndLuminosityBlock", "fillHistograms"))
    own = f"{crash.module}::{method}(edm::Event const&)"
    library = f"/cmsnfsdqmdata/dqmdata/dqm_cmssw/{crash.release}/lib"
    threads = [
        f'Thread 1 (Thread 0x{rng.getrandbits(47):x} "cmsRun"):\n',
        "#3  0x00007fbb6f4f9a92 in sig_dostack_then_abort () from pluginFWCoreServicesPlugins.so\n",
        "#4  <signal handler called>\n",
        f"#5  0x{rng.getrandbits(47):016x} in {own} () from {library}/pluginDQM{crash.module}.so\n",
        *(
            f"#{number}  0x{rng.getrandbits(47):016x} in {frame} () from {library}/libFWCoreFramework.so\n"
            for number, frame in enumerate(_FRAMEWORK, start=6)
        ),
    ]
    return [*cause, fatal_signal(name, "".join(threads), f"{crash.module}:{crash.label}")]


def _assertion(crash: Crash, rng: random.Random) -> list[str]:
    line = rng.randrange(20, 900)
    return [
        (
            f"cmsRun: src/DQM/{crash.module}/src/{crash.module}.cc:{line}: void {crash.module}::fill(int): "
            "Assertion `channel < channels_.size()' failed.\n"
        )
    ]


def _double_free(_crash: Crash, _rng: random.Random) -> list[str]:
    return ["double free or corruption (!prev)\n"]


def _cuda(_crash: Crash, _rng: random.Random) -> list[str]:
    return [
        "terminate called after throwing an instance of 'std::runtime_error'\n  what():  \n",
        "src/HeterogeneousCore/CUDAUtilities/src/CachingDeviceAllocator.h, line 617:\n",
        "cudaCheck(error = cudaEventRecord(search_key.ready_event, search_key.associated_stream));\n",
        "cudaErrorIllegalAddress: an illegal memory access was encountered\n\n",
    ]


def _frame(crash: Crash, category: str, message: str, where: str | None = None) -> list[str]:
    processing = (
        f"   [0] Processing  Event run: {crash.run} lumi: {crash.lumisection} stream: 0\n"
        "   [1] Running path 'p'\n"
        f"   [2] Calling method for module {crash.module}/'{crash.label}'\n"
    )
    return [fatal_exception(crash.at, category, processing if where is None else where, message)]


def _corrupt_data(crash: Crash, rng: random.Random) -> list[str]:
    strips = rng.choice((256, 512, 640))
    message = f"Requested noise for {strips + 128} strips, I have it only for {strips} strips"
    return _frame(crash, "CorruptedData", message)


def _missing_record(crash: Crash, _rng: random.Random) -> list[str]:
    message = 'No data of type "SiPixelQuality" with label "" in record "SiPixelQualityRcd"'
    return _frame(crash, "NoProxyException", message)


def _missing_product(crash: Crash, _rng: random.Random) -> list[str]:
    message = (
        "Principal::getByToken: Found zero products matching all criteria\n"
        "Looking for type: FEDRawDataCollection"
    )
    return _frame(crash, "ProductNotFound", message)


def _conditions(crash: Crash, _rng: random.Random) -> list[str]:
    where = (
        "   [0] Constructing the EventProcessor\n"
        "   [1] Constructing ESSource: class=PoolDBESSource label='GlobalTag'\n"
    )
    message = (
        "A std::exception was thrown.\n"
        "Can not get data (Additional Information: [frontier.c:1136]: No more proxies. "
        "Last error was: Request 8 on chan 1 failed: -8 [fn-htclient.c:444]: server error)"
    )
    return [
        "warn [fn-htclient.c:418]: Trying next proxy\n",
        *_frame(crash, "StdException", message, where),
    ]


def _unreadable_input(crash: Crash, _rng: random.Random) -> list[str]:
    where = f"   [0] Calling InputSource::getNextItemType\n{_SOURCE}"
    return _frame(
        crash, "FileReadError", f"Input file {crash.file} could not be read: Stale file handle", where
    )


def _missing_input(crash: Crash, _rng: random.Random) -> list[str]:
    where = f"   [0] Constructing the EventProcessor\n{_SOURCE}"
    return _frame(crash, "FileOpenError", f"Failed to open the file '{crash.file}'", where)


def _python(crash: Crash, _rng: random.Random) -> list[str]:
    file = f"{crash.client}_dqm_sourceclient-live_cfg.py"
    where = f"   [0] Processing the python configuration file named {file}\n"
    message = (
        " unknown python problem occurred.\n"
        f"AttributeError: 'Process' object has no attribute '{crash.label}'\n\nAt:\n  {file}(66): <module>\n"
    )
    return _frame(crash, "ConfigFileReadError", message, where)


_ABORTS: tuple[_Cause, ...] = (_assertion, _double_free, _cuda)
# By exit code of cmsRun, of which the system keeps 8 bits.
_EXCEPTIONS: Mapping[int, tuple[_Cause, ...]] = {
    65: (_corrupt_data, _missing_record),
    66: (_conditions,),
    70: (_missing_product,),
    84: (_missing_input,),
    85: (_unreadable_input,),
    90: (_python,),
}
