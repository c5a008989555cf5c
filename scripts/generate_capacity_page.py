"""Fill the tables of docs/operations/capacity.md; with --check, fail when they have drifted."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from avikam.simulator.hardware import HARDWARE
from avikam.simulator.report import cost_table

OPERATIONS = Path(__file__).resolve().parents[1] / "docs" / "operations"
PAGE = OPERATIONS / "capacity.md"
PROMPT, ANSWER = 64, 50


def workers() -> str:
    """What one worker does."""
    rows = (
        (
            gpu.name,
            str(gpu.gpus),
            str(gpu.slots),
            f"{gpu.step_seconds(1, PROMPT) * 1e3:.1f} ms",
            f"{gpu.step_seconds(gpu.slots, PROMPT + ANSWER // 2) * 1e3:.1f} ms",
            f"{gpu.prefill_seconds(512) * 1e3:.0f} ms",
            f"{gpu.requests_per_second(PROMPT, ANSWER):.0f}",
        )
        for gpu in HARDWARE.values()
    )
    return table(
        ("profile", "GPUs", "slots", "step, 1", "step, all", "prefill 512", "requests/s"), rows
    )


def costs() -> str:
    """What a million requests cost."""
    rows = (
        (
            f"{cost.workers} x {cost.hardware}",
            f"{cost.requests_per_second:.0f}",
            f"{cost.dollars_per_hour:.2f}",
            f"{cost.dollars_per_million:.2f}",
        )
        for cost in cost_table(PROMPT, ANSWER)
    )
    return table(("workers", "requests/s", "dollars/hour", "dollars/million requests"), rows)


def ramps() -> str:
    """What the kept simulations of the ramp say."""
    rows = []
    for gpu in HARDWARE:
        run = json.loads((OPERATIONS / "simulations" / f"ramp-{gpu}.json").read_text())
        first = run["time_to_first_token_seconds"]
        rows.append(
            (
                gpu,
                str(run["replicas"]["most_used"]),
                str(run["replicas"]["needed_at_peak"]),
                f"{first['p50']:.3f} s",
                f"{first['p99']:.2f} s",
                f"{run['rejected_share']:.1%}",
                f"{run['dollars']:.2f}",
            )
        )
    heads = ("profile", "most workers", "full", "first token p50", "p99", "rejected", "dollars")
    return table(heads, rows)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown."""
    lines = [list(heads), ["---"] * len(list(heads)), *(list(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def page() -> str:
    """The page with its tables."""
    text = PAGE.read_text()
    for name, content in (("workers", workers()), ("costs", costs()), ("ramps", ramps())):
        marked = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
        text = marked.sub(f"\n{content}\n".replace("\\", r"\\"), text)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, report drift")
    check = parser.parse_args().check
    fresh = page()
    drifted = fresh != PAGE.read_text()
    if drifted and not check:
        PAGE.write_text(fresh)
    if drifted and check:
        print("docs/operations/capacity.md has drifted: run `make chart`")
    return int(drifted and check)


if __name__ == "__main__":
    sys.exit(main())
