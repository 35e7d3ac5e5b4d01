"""Memory that a long piece of work leaves behind is given back to the system; a grabber mostly rests.

By itself the C library of most Linuxes, glibc, keeps what it once had: blocks as large as any that was ever
freed, and whatever lies below something that is still in use. Others have no such calls, or no need of them.
"""

import ctypes

# From <malloc.h> of glibc.
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 128 * 1024

_C_LIBRARY = ctypes.CDLL(None)


def give_back_early() -> None:
    """Has large blocks given back as soon as they are free, from now on."""
    mallopt = getattr(_C_LIBRARY, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Gives back what is free now; after a piece of work that had much in small blocks."""
    malloc_trim = getattr(_C_LIBRARY, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
