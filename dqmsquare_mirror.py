"""The mirror as one program, for the image and the executable: its first word says which part runs.

    dqmsquare_mirror server
    dqmsquare_mirror grabber production | playback
    dqmsquare_mirror migrate
    dqmsquare_mirror db …          what db.py can do
    dqmsquare_mirror probe         whether what runs here is well
    dqmsquare_mirror simulator …   a DQM² to try it with; not in the image
    dqmsquare_mirror sift …        what a grabber starts beside itself (grabbing/parser_pool.py)
    dqmsquare_mirror --version

What follows the first word is that part's own; `--help` behind it tells.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import cast

from runtime import die_with_parent, version

# The parts by their words: the module whose `main` is called, and the words put before those given. A module
# is loaded when its word is said, so that no part carries the others in its memory; the executable's build
# is told of them by name (dqmsquare_deploy.sh).
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "server": ("server", ()),
    "grabber": ("grabber", ()),
    "migrate": ("db_commands", ("migrate",)),
    "db": ("db_commands", ()),
    "probe": ("runtime.healthcheck", ()),
    "simulator": ("simulator.__main__", ()),
    "sift": ("grabbing.parser_pool", ()),
}

Main = Callable[[list[str]], int | None]


def main(words: list[str]) -> int | None:
    """Runs the part that the first word names; its exit status, 2 where there is no such part."""
    match words:
        case ["--version"]:
            sys.stdout.write(f"DQM² Mirror {version.current()}\n")
            return 0
        case ["--help" | "-h"]:
            sys.stdout.write(f"{__doc__}")
            return 0
        case [word, *rest] if word in PARTS:
            module, before = PARTS[word]
            return cast("Main", importlib.import_module(module).main)([*before, *rest])
    sys.stderr.write(f"the first word must be one of: {', '.join(PARTS)}\n")
    return 2


def _end_with_the_outer_process() -> None:
    """The executable runs in two processes, the outer of which unpacks it: neither outlives the other."""
    if getattr(sys, "frozen", False):
        die_with_parent.end_with(os.getppid(), signal.SIGTERM)


if __name__ == "__main__":
    _end_with_the_outer_process()
    sys.exit(main(sys.argv[1:]))
