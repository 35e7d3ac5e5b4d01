"""DQM² Mirror as one program, for the image and the executable; the first argument is the command."""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import cast

from runtime import die_with_parent, version

# Commands: the module with their `main`, and the arguments that precede those of the command line. Modules
# are imported on use, so that no program holds the others in memory; dqmsquare_deploy.sh lists them for
# PyInstaller.
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "server": ("server", ()),
    "grabber": ("grabber", ()),
    "all": ("runtime.run_all", ()),
    "migrate": ("db_commands", ("migrate",)),
    "db": ("db_commands", ()),
    "notify-test": ("grabbing.notify_test", ()),
    "healthcheck": ("runtime.healthcheck", ()),
    "simulator": ("simulator.__main__", ()),
}

Main = Callable[[list[str]], int | None]

_USAGE = """\
DQM² Mirror as one program, for the image and the executable; the first argument is the command.

    dqmsquare_mirror server
    dqmsquare_mirror grabber production | playback
    dqmsquare_mirror all              web server and both grabbers
    dqmsquare_mirror migrate
    dqmsquare_mirror db …             same as python db.py
    dqmsquare_mirror notify-test      send a test message to each receiver of notifications
    dqmsquare_mirror healthcheck      check the programs that run on this machine
    dqmsquare_mirror simulator …      simulate DQM² (not in the image)
    dqmsquare_mirror --version

Every command has its own options; see its --help.
"""


def main(arguments: list[str]) -> int | None:
    """Run a command and return its exit status; 2 for an unknown command."""
    match arguments:
        case ["--version"]:
            sys.stdout.write(f"DQM² Mirror {version.current()}\n")
            return 0
        case ["--help" | "-h"]:
            sys.stdout.write(_USAGE)
            return 0
        case [command, *rest] if command in COMMANDS:
            module, before = COMMANDS[command]
            return cast("Main", importlib.import_module(module).main)([*before, *rest])
    sys.stderr.write(f"the first argument must be one of: {', '.join(COMMANDS)}\n")
    return 2


def _exit_with_bootloader() -> None:
    """Tie this process to PyInstaller's outer process, which unpacked it: neither outlives the other."""
    if getattr(sys, "frozen", False):
        die_with_parent.set_parent_death_signal(os.getppid(), signal.SIGTERM)


if __name__ == "__main__":
    # The worker processes of the executable start here as well.
    multiprocessing.freeze_support()
    _exit_with_bootloader()
    sys.exit(main(sys.argv[1:]))
