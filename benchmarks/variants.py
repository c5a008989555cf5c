"""What a config option costs: a mixture of experts, and four-bit weights, beside the usual 60 M."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from avikam.model.config import preset
from avikam.model.loading import WeightType
from benchmarks.figures import measure
from benchmarks.ours import random_ours

VARIANTS: tuple[tuple[str, str, WeightType], ...] = (
    ("dense, int8", "avikam1-60m", "int8"),
    ("4 experts, 2 active, int8", "avikam1-60m-moe", "int8"),
    ("dense, int4", "avikam1-60m", "int4"),
)


def measure_variants(rounds: int, seconds: float, level: str) -> dict[str, dict[str, Any]]:
    """Tokens per second of each, by name: they take turns, the usual one first.

    ``active_parameters`` are those that one token meets.
    """
    peers = [
        random_ours(preset(size), kind=kind, name=name, level=level)
        for name, size, kind in VARIANTS
    ]
    speeds = measure(peers, rounds, seconds)
    return {
        peer.name: {
            "parameters": peer.parameters,
            "active_parameters": peer.model.config.parameter_count(active=True),
            **asdict(speeds[peer.name]),
        }
        for peer in peers
    }


def variants_table(found: dict[str, dict[str, Any]]) -> str:
    """A line for each, with how many times quicker than the first it is."""
    figures = ("decode_1", "decode_16", "prefill_256")
    usual = next(iter(found.values()))
    rows = [f"\n{'variants':28} {'active':>12} " + " ".join(f"{name:>16}" for name in figures)]
    for name, line in found.items():
        cells = (f"{line[f]:8,.0f} ({line[f] / usual[f]:4.2f}x)" for f in figures)
        rows.append(f"{name:28} {line['active_parameters']:>12,} " + " ".join(cells))
    return "\n".join(rows)
