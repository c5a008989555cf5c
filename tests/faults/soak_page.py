"""docs/benchmarks/soak.md, written from the figures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.faults.page import ROOT

PAGE = ROOT / "docs" / "benchmarks" / "soak.md"


_USAGE = (
    ("gateway_rss_mib", "the gateway's memory before; after, MiB", "+ 10 % at most"),
    ("gateway_descriptors", "its descriptors before; after", "+ 2 at most"),
    ("gateway_threads", "its threads before; after", ""),
)


def soak_page(figures: Mapping[str, Any], kept: bool) -> str:
    """The page's text."""
    before, after = figures["before"], figures["after"]
    faults = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in figures["faults"].items())
    lines = [
        "# Under load with a random fault every ten seconds",
        "",
        'Written by `make soak ARGS="--page"`; not edited by hand. A gateway and four workers of '
        "the fake engine, each behind a proxy; streamed requests come at their own times, one "
        "client in ten leaves early.",
        "",
        f"Measured on {figures['machine']}, at {figures['commit']}: {figures['minutes']:g} "
        f"minutes, {sum(figures['faults'].values())} faults ({faults}). "
        + ("Every promise kept." if kept else "**Not every promise was kept.**"),
        "",
        "| | measured | promised |",
        "|---|---|---|",
        f"| availability, as clients saw it | {figures['availability']:.4%} | >= 99.95 % |",
        f"| tokens lost, duplicated | {figures['lost']}, {figures['duplicated']} | 0, 0 |",
        f"| sequences and slots left over | {figures['leaked']:g} | 0 |",
        f"| longest pause of a stream, s | {figures['longest_gap_s']:.2f} | |",
        f"| requests; clients that left early | {figures['requests']}; {figures['left']} | |",
    ]
    for name, label, promised in _USAGE:
        lines.append(f"| {label} | {before[name]:.4g}; {after[name]:.4g} | {promised} |")
    return "\n".join(lines) + "\n"
