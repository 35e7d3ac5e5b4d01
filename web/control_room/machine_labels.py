"""What stands for a machine in whatever is kept: its label, as the mirror's own pages show it."""

from collections.abc import Mapping
from contextlib import suppress

import sqlalchemy as sa

from dqm2.pseudonyms import Pseudonymizer, default_label
from dqmsquare_cfg import Cluster, Settings
from storage.machines import find_label


class MachineLabels:
    """The labels of the configured machines; those found are remembered, since labels are kept for good."""

    def __init__(self, settings: Settings, databases: Mapping[Cluster, sa.Engine]) -> None:
        self._settings = settings
        self._identities = Pseudonymizer(settings.pseudonym_secret)
        self._found: dict[str, str] = {}
        self._databases = databases

    def label(self, host: str) -> str:
        """The label of a machine of either cluster; the mask that it begins with where there is none yet."""
        if host not in self._found:
            label = self._look_up(host)
            if label is None:
                return default_label(host)
            self._found[host] = label
        return self._found[host]

    def _look_up(self, host: str) -> str | None:
        is_playback = host in self._settings.fff_playback_machines
        database = self._databases[Cluster.PLAYBACK if is_playback else Cluster.PRODUCTION]
        # A mask will do, rather than no command while this database is away.
        with suppress(sa.exc.SQLAlchemyError):
            return find_label(database, self._identities.for_machine(host))
        return None
