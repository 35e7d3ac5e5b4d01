"""The DQM clients of the simulated clusters, with the input and memory of each."""

from collections.abc import Iterable
from dataclasses import dataclass

_SUFFIX = "_dqm_sourceclient-live"


@dataclass(frozen=True, slots=True)
class Client:
    """A DQM client: its tag, its input stream, and its usual event rate and memory.

    An `events_per_s` of 0 is for a client without input, because runs don't have its stream.
    """

    tag: str
    stream: str = "streamDQM"
    events_per_s: float = 52.0
    rss_kb: int = 1_600_000

    @property
    def name(self) -> str:
        """The short name that people use, e.g. `beampixel`."""
        return self.tag.removesuffix(_SUFFIX)

    @property
    def config_file(self) -> str:
        """The configuration file that identifies the client in control commands."""
        return f"{self.tag}_cfg.py"


def _source(name: str, stream: str = "streamDQM", rate: float = 52.0, rss_kb: int = 1_600_000) -> Client:
    return Client(f"{name}{_SUFFIX}", stream, rate, rss_kb)


CLIENTS: tuple[Client, ...] = (
    _source("beam", rss_kb=2_900_000),
    _source("beamhlt", "streamDQMOnlineBeamspot", 0.0, 640_000),
    _source("beampixel", rss_kb=2_100_000),
    _source("beamspotdip", rss_kb=720_000),
    _source("csc", rss_kb=1_900_000),
    _source("ctpps", rss_kb=1_300_000),
    _source("dt", rss_kb=1_500_000),
    _source("dt4ml", rss_kb=1_450_000),
    _source("ecal", rss_kb=2_600_000),
    _source("ecalcalib", "streamDQMCalibration", 8.3, 1_200_000),
    _source("ecalgpu", "streamDQMGPUvsCPU", 6.1, 1_800_000),
    _source("es", rss_kb=1_250_000),
    _source("fed", rss_kb=980_000),
    _source("gem", rss_kb=1_350_000),
    _source("hcal", rss_kb=2_300_000),
    _source("hcalcalib", "streamDQMCalibration", 8.3, 1_750_000),
    _source("hcalgpu", "streamDQMGPUvsCPU", 6.1, 1_700_000),
    _source("hcalreco", rss_kb=2_000_000),
    _source("hlt", rss_kb=1_400_000),
    Client("hlt_dqm_clientPB-live", "streamDQMHistograms", 0.0, 900_000),
    _source("info", rss_kb=700_000),
    _source("l1tstage2", rss_kb=1_700_000),
    _source("l1tstage2emulator", rss_kb=2_400_000),
    _source("mutracking", rss_kb=3_100_000),
    _source("onlinebeammonitor", rss_kb=690_000),
    _source("pixel", rss_kb=3_400_000),
    _source("pixellumi", rss_kb=1_500_000),
    _source("rpc", rss_kb=1_250_000),
    _source("sistrip", rss_kb=3_800_000),
    Client("visualization-live", "streamDQMEventDisplay", 0.9, 3_900_000),
    Client("visualization-live-secondInstance", "streamDQMEventDisplay", 0.4, 3_700_000),
)


def select_clients(names: Iterable[str] | None) -> tuple[Client, ...]:
    """The clients with these names or tags, `None` for all. Raises KeyError for an unknown one."""
    if names is None:
        return CLIENTS
    by_name = {key: client for client in CLIENTS for key in (client.name, client.tag)}
    return tuple(by_name[name] for name in names)
