"""Becomes a program that does not outlive its parent: `python -I -S tied.py PARENT SIGNAL USER PROGRAM …`.

It stands between fork and exec, where nothing else of Python is safe, as a program of its own: it gives up
root for USER (`-`: stays who it is), asks the kernel to send SIGNAL when PARENT dies, and takes back what
the parent did to signals. The process keeps its number, so the parent's child is PROGRAM itself.
"""

import ctypes
import os
import pwd
import signal
import sys

SAME_USER = "-"
# From <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1


def main(parent: int, ending: int, user: str, program: list[str]) -> None:
    """Becomes `program`; raises OSError if it can't, and ends quietly if the parent is gone already."""
    if user != SAME_USER:
        become(user)
    # After the change of user, which would clear it.
    end_with(parent, ending)
    # A shell has what it runs in the background ignore the first two.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(program[0], program)  # noqa: S606 - an argument list, no shell


def end_with(parent: int, ending: int) -> None:
    """Has the kernel send this process a signal when its parent dies; ends it if that is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ending, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)


def become(user: str) -> None:
    """Gives up root for a user of the system, its group alone included."""
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
