"""Measure the gateway here, with the fake engine: figures to build/bench/gateway.json.

python -m loadtests.gateway                # throughput, added time, against an echo
python -m loadtests.gateway --overload     # and ten times too much for a minute
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import orjson
import uvloop

from loadtests.gateway import figures, overload
from loadtests.gateway.page import page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "gateway.md"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--overload", action="store_true", help="measure 10x overload too")
    parser.add_argument("--only-overload", action="store_true", help="measure nothing else")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks/gateway.md")
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "gateway.json")
    asked = parser.parse_args()
    # A look at a hundred thousand replies would stop the load for tenths of a second.
    gc.disable()
    known: dict[str, Any] = orjson.loads(asked.out.read_bytes()) if asked.out.exists() else {}
    if not asked.only_overload:
        known |= _run(figures.measure(figures.Plan(seconds=asked.seconds)))
    if asked.overload or asked.only_overload:
        sizes = overload.Overload(seconds=asked.overload_seconds)
        known["overload"] = _run(overload.measure(sizes))
    known["machine"] = machine()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_bytes(orjson.dumps(known, option=orjson.OPT_INDENT_2) + b"\n")
    print(f"written: {asked.out}")
    if asked.page:
        PAGE.write_text(page(known))
        print(f"written: {PAGE}")


def _run(measurement: Coroutine[Any, Any, dict[str, float]]) -> dict[str, float]:
    found = uvloop.run(measurement)
    for name, value in found.items():
        print(f"{name:30} {value:g}", flush=True)
    return found


def machine() -> dict[str, object]:
    """Where the figures are from."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    """The kernel's name for it; empty where it has none to give."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


if __name__ == "__main__":
    main()
