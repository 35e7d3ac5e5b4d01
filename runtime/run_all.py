"""Web server and both grabbers as one program: `make run`, and `dqmsquare_mirror all` in one container.

They are supervised together: when one exits, the others are stopped. Exit status: 0 after a stop signal, 1 if
a program exited, 2 for invalid settings. Not available in the executable, which has no Python interpreter for
`die_with_parent`; there each program is a systemd service.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import dqmsquare_cfg
from dqmsquare_cfg import Cluster
from runtime.supervisor import (
    MEMORY_ENVIRONMENT,
    ProcessError,
    ProcessGroup,
    ProcessSpec,
    StopRequested,
    StopSignals,
    watch,
)

_ROOT = Path(__file__).resolve().parent.parent
# A grabber finishes its current batch and ends within 5 s of SIGTERM.
_STOP_TIMEOUT_S = 6.0


def main(arguments: Sequence[str] = ()) -> int:
    """Run both grabbers and the web server until a stop signal; takes no arguments."""
    if arguments or getattr(sys, "frozen", False):
        sys.stderr.write(
            "`all` takes no arguments; the executable runs each program as a service of its own\n"
        )
        return 2
    dqmsquare_cfg.load_or_exit()
    try:
        with StopSignals() as signals, ProcessGroup(stop_timeout_s=_STOP_TIMEOUT_S) as processes:
            for cluster in Cluster:
                processes.start(_spec(f"{cluster} grabber", "grabber", cluster.value))
            processes.start(_spec("web server", "server"))
            watch(list(processes), signals)
    except StopRequested:
        return 0
    except ProcessError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _spec(name: str, program: str, *words: str) -> ProcessSpec:
    """A program of the mirror, with the environment and the output of this one."""
    return ProcessSpec(
        name=name,
        arguments=[sys.executable, f"{program}.py", *words],
        environment={**MEMORY_ENVIRONMENT, **os.environ},
        cwd=_ROOT,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
