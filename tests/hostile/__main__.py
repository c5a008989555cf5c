"""Attack a gateway with every shape at once and write docs/benchmarks/hostile.md.

python -m tests.hostile                    # 200 clients for 20 s
python -m tests.hostile --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from tests.faults.page import ROOT, commit, machine
from tests.hostile.run import Figures, Innocent, measure, stage

PAGE = ROOT / "docs" / "benchmarks" / "hostile.md"


async def _measured(seconds: float, clients: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="avikam-hostile-") as folder:
        async with stage(Path(folder)) as setting:
            return await measure(setting, seconds=seconds, clients=clients, alone=10.0)


def page(figures: Figures, seconds: float, clients: int, load: float) -> str:
    """The page's text."""
    ratio = figures.under_attack.percentile(0.99) / figures.alone.percentile(0.99)
    lines = [
        "# Under attack",
        "",
        "Written by `make hostile`; not edited by hand. A gateway with its defaults, one worker of "
        f"the fake engine, and {clients} hostile clients in a process of their own for "
        f"{seconds:g} s, beside one innocent client of another tenant that asks one small question "
        "after the other. All of them share the machine's cores.",
        "",
        f"Measured on {machine()}, at {commit()}; load average of the minute before: {load:.1f}.",
        "",
        "| | before | most | after | promised |",
        "|---|---|---|---|---|",
        f"| the gateway's memory, MiB | {figures.before:.0f} | {figures.peak:.0f} | "
        f"{figures.after:.0f} | most < 1,024 |",
        f"| the worker's memory, MiB | | {figures.worker_peak:.0f} | | |",
        "",
        "| the innocent tenant | answers | wrong or refused | half within, ms | 99 % within, ms |",
        "|---|---|---|---|---|",
        _seen("alone", figures.alone),
        _seen("under attack", figures.under_attack),
        "",
        f"Ratio of the 99 % times: {ratio:.1f} (aim: 2).",
        "",
        "| what was sent | how it ended, and how often |",
        "|---|---|",
    ]
    for name, ended in sorted(figures.outcomes.items()):
        told = ", ".join(f"{how} {count}" for how, count in sorted(ended.items()))
        lines.append(f"| {name} | {told} |")
    return "\n".join(lines) + "\n"


def _seen(name: str, innocent: Innocent) -> str:
    half, most = innocent.percentile(0.5), innocent.percentile(0.99)
    counts = f"{len(innocent.seconds)} | {len(innocent.wrong)}"
    return f"| {name} | {counts} | {half:.0f} | {most:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=200)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    figures = asyncio.run(_measured(given.seconds, given.clients))
    PAGE.write_text(page(figures, given.seconds, given.clients, load))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
