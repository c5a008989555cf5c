"""Prompts that read like nothing, and what engines say about reusing them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from avikam.engine.engine import TorchEngine
from avikam.engine.interface import KvStats
from tests.engine.client import Answer


def prompt_of(length: int, seed: int = 0) -> list[int]:
    """The same tokens every time."""
    return random.Random(seed).choices(range(10, 300), k=length)


def kv(engine: TorchEngine) -> KvStats:
    stats = engine.stats().kv
    assert stats is not None
    return stats


def cached(answer: Answer) -> int:
    """Prompt tokens that were not computed."""
    return answer.finish.timings.cached_tokens


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait for what happens on another thread."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.005)


def hits(engine: TorchEngine) -> int:
    """Known prefixes used, in whatever tier."""
    return kv(engine).device_hits + kv(engine).host_hits
