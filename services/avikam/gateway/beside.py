"""Large bodies are read beside the event loop, so that their sender alone waits for it.

One thread of Python runs at a time, but the interpreter changes between them every few
milliseconds, where one long function on the loop would hold up every stream for all it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Bodies up to here take about a millisecond, and a thread is not worth its while.
INLINE_BYTES = 64 * 1024


async def beside(size: int, work: Callable[[], T]) -> T:
    """What ``work`` makes of a body of ``size`` bytes."""
    if size <= INLINE_BYTES:
        return work()
    return await asyncio.to_thread(work)
