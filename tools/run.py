"""`make run`: the mirror by the environment and `.env`, its processes started and ended together.

Each is what a service manager would start by itself. Exit status: 0 if it was told to end, 1 if one of them
ended by itself, 2 for settings that don't hold.
"""

import os
import sys
from pathlib import Path

import dqmsquare_cfg
from dqmsquare_cfg import Cluster
from runtime.supervisor import ProcessError, ProcessGroup, ProcessSpec, StopRequested, StopSignals, watch

_CLONE = Path(__file__).resolve().parent.parent
# A grabber ends within 5 s of a SIGTERM, the batch in hand finished.
_STOP_WITHIN_S = 6.0


def main() -> int:
    """Runs both grabbers and the web server until it is told to end."""
    dqmsquare_cfg.load_or_exit()
    try:
        with StopSignals() as signals, ProcessGroup(stop_timeout_s=_STOP_WITHIN_S) as processes:
            for cluster in Cluster:
                processes.start(_program(f"{cluster} grabber", "grabber.py", cluster.value))
            processes.start(_program("web server", "server.py"))
            watch(list(processes), signals)
    except StopRequested:
        return 0
    except ProcessError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _program(name: str, *words: str) -> ProcessSpec:
    """A program of the mirror's, in this one's environment; its output goes where this one's goes."""
    return ProcessSpec(
        name=name, arguments=[sys.executable, *words], environment=dict(os.environ), cwd=_CLONE
    )


if __name__ == "__main__":
    sys.exit(main())
