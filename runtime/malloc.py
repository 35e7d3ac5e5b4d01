"""What the C library does with memory that is free: what mostly rests gives it back.

By itself the C library of most Linuxes, glibc, keeps what it once had: blocks as large as any that was ever
freed, and whatever lies below something that is still in use. Others have no such calls, or no need of them.
"""

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# From <malloc.h> of glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_FEW_POOLS = 2
_LARGE_BYTES = 128 * 1024
_BEYOND_ALL_BYTES = 1 << 30

_C_LIBRARY = ctypes.CDLL(None)


def give_back_early() -> None:
    """Has large blocks given back as soon as they are free, from now on."""
    _set({_M_MMAP_THRESHOLD: _LARGE_BYTES, _M_TRIM_THRESHOLD: _LARGE_BYTES})


def share_pools() -> None:
    """Has all threads take small blocks from the same few pools; each keeps for itself what it once had."""
    _set({_M_ARENA_MAX: _FEW_POOLS})


def give_back() -> None:
    """Gives back what is free now; after a piece of work that had much in small blocks."""
    malloc_trim = getattr(_C_LIBRARY, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def keep() -> None:
    """Has what is free kept from now on; for a process that will need as much again at once, till it ends."""
    _set({_M_MMAP_THRESHOLD: _BEYOND_ALL_BYTES, _M_TRIM_THRESHOLD: _BEYOND_ALL_BYTES})


@contextmanager
def kept() -> Iterator[None]:
    """Has what is free kept meanwhile, and given back early again after: work that needs it again at once.

    To have 8 MB anew for each of a row of answers takes as long as to read them.
    """
    keep()
    try:
        yield
    finally:
        give_back_early()
        give_back()


def _set(options: Mapping[int, int]) -> None:
    mallopt = getattr(_C_LIBRARY, "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
