"""Which clients a machine starts with the next run: what `change_dqm_client` switches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """Where switches are found: a machine, and whether they are those of the playback or of production."""

    host: str
    is_playback: bool


class Switches:
    """The switches of every machine, by the client's configuration file; all are on at first."""

    def __init__(self, clients: Mapping[str, Iterable[str]]) -> None:
        self._is_on = {
            Panel(host, is_playback): dict.fromkeys(configurations, True)
            for host, configurations in clients.items()
            for is_playback in (False, True)
        }

    def of(self, panel: Panel) -> dict[str, bool]:
        """A machine's switches. Raises KeyError if there are none."""
        return dict(self._is_on[panel])

    def is_on(self, panel: Panel, configuration: str) -> bool:
        """Whether a client is started there. Raises KeyError if it has no switch."""
        return self._is_on[panel][configuration]

    def set(self, panel: Panel, configuration: str, *, on: bool) -> None:
        """Throws a switch. Raises KeyError if there is none of that name."""
        if configuration not in self._is_on[panel]:
            raise KeyError(configuration)
        self._is_on[panel][configuration] = on
