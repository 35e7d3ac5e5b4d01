"""What the gateway can reach: the machines of the clusters, by name, as they resolve inside P5."""

from collections.abc import Iterable, Mapping

from config.parsers import short_name
from dqmsquare_cfg import Cluster
from simulator.machine import Machine

DOMAIN = ".cms"


class Site:
    """The machines of both clusters, and which of them is the gateway."""

    def __init__(
        self,
        clusters: Mapping[Cluster, Iterable[str]],
        gateway: str,
        clock_offsets_s: Mapping[str, float] | None = None,
    ) -> None:
        offsets = clock_offsets_s or {}
        self.clusters = {cluster: tuple(names) for cluster, names in clusters.items()}
        names = dict.fromkeys([*(name for names in self.clusters.values() for name in names), gateway])
        self._machines = {name: Machine(name, clock_offset_s=offsets.get(name, 0.0)) for name in names}
        self.gateway = self._machines[gateway]

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Every machine, the production cluster's first."""
        return tuple(self._machines.values())

    def machine(self, name: str) -> Machine:
        """The machine of a name, short or ending in `.cms`. Raises KeyError if there is none."""
        machine = self.find(name)
        if machine is None:
            raise KeyError(f"no machine {name!r} is simulated; there are: {', '.join(self._machines)}")
        return machine

    def find(self, host: str) -> Machine | None:
        """The machine that a host name resolves to inside P5, if there is one."""
        if host.endswith(DOMAIN) or "." not in host:
            return self._machines.get(short_name(host))
        return None

    def machines_of(self, cluster: Cluster) -> tuple[Machine, ...]:
        """The machines of a cluster, in the order of the configuration."""
        return tuple(self._machines[name] for name in self.clusters[cluster])
