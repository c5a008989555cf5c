"""How the C library keeps memory: large blocks go back to the system as soon as they are free.

By itself glibc learns from the first large block that is freed to keep the next ones, up to 32 MiB
each and in as many heaps as there are threads; a process that was sent some large requests then
stays as large for ever.
"""

from __future__ import annotations

import contextlib
import ctypes

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 256 * 1024
_HEAPS = 2


def give_back_large_blocks() -> None:
    """Set it for this process; nothing happens where the C library is another one."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, _HEAPS)
