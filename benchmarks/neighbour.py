"""What a program that takes a core does to our steps, with one thread and with several."""

from __future__ import annotations

import multiprocessing
import statistics
import time

import torch

from benchmarks.figures import STREAMS
from benchmarks.ours import Ours

_WARM, _STEPS, _TURNS = 8, 40, 3


def beside_a_neighbour(ours: Ours, threads: int) -> dict[str, float]:
    """Milliseconds of a decode step beside a busy process, and how much slower several threads are.

    ``worst`` is the larger of the ratios for one stream and for all: above 1.1 the team would have
    done better alone.
    """
    neighbour = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    neighbour.start()
    try:
        found: dict[str, float] = {}
        for streams in (1, STREAMS):
            alone, together = _in_turns(ours, streams, threads)
            found |= {f"{streams}_alone_ms": alone, f"{streams}_together_ms": together}
        ratios = [found[f"{n}_together_ms"] / found[f"{n}_alone_ms"] for n in (1, STREAMS)]
        return {name: round(value, 3) for name, value in (found | {"worst": max(ratios)}).items()}
    finally:
        neighbour.kill()
        neighbour.join()
        torch.set_num_threads(threads)


def _in_turns(ours: Ours, streams: int, threads: int) -> tuple[float, float]:
    """Medians of the turns' mean steps with one thread, and with ``threads``."""
    times: dict[int, list[float]] = {1: [], threads: []}
    for _ in range(_TURNS):
        for count, taken in times.items():
            torch.set_num_threads(count)
            ours.begin(streams)
            for _ in range(_WARM):
                ours.step()
            began = time.perf_counter()
            for _ in range(_STEPS):
                ours.step()
            taken.append((time.perf_counter() - began) / _STEPS * 1e3)
    return statistics.median(times[1]), statistics.median(times[threads])


def _spin() -> None:
    while True:
        pass
