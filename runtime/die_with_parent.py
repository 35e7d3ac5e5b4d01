"""Processes that do not outlive their parent: `python -I -S die_with_parent.py PARENT SIGNAL USER PROGRAM …`.

Run between fork and exec, as a program of its own because Python code in `preexec_fn` is unsafe with threads.
It switches from root to USER (`-`: no change), asks the kernel to send SIGNAL when the process PARENT dies,
and resets signal handling. PROGRAM keeps the process id, so it is a direct child of the parent.
"""

import ctypes
import os
import pwd
import signal
import sys

SAME_USER = "-"
# <sys/prctl.h>
_PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, user: str, program: list[str]) -> None:
    """Replace this process with `program`; raises OSError, or SystemExit if the parent is already dead."""
    if user != SAME_USER:
        drop_privileges(user)
    # A change of user clears the death signal, so it is set afterwards.
    set_parent_death_signal(parent, death_signal)
    # Shells start background jobs with SIGINT and SIGQUIT ignored.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(program[0], program)  # noqa: S606 - an argument list, no shell


def set_parent_death_signal(parent: int, death_signal: int) -> None:
    """Ask the kernel for a signal when the parent dies; raises SystemExit if it is already dead."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)


def drop_privileges(user: str) -> None:
    """Switch from root to a user and its primary group, without supplementary groups."""
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
