"""Run drills and write the fault table.

python -m tests.faults                 # all of them
python -m tests.faults F1 F13-F22      # some; the other lines keep their last figures
python -m tests.faults --page          # the page from what was measured before
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import traceback

from tests.faults import page
from tests.faults.catalogue import select
from tests.faults.drill import Drill

# No drill needs as many seconds; one that does hangs.
_LONGEST = 240.0


async def _measure(drills: list[Drill], seconds: float, *, times: bool) -> int:
    """Each drill once; how many broke their promise. None starts when the time is up."""
    began, missed = time.monotonic(), 0
    for drill in drills:
        started = time.monotonic()
        if started - began > seconds:
            print(f"time is up before {drill.id}", flush=True)
            return missed + 1
        try:
            async with asyncio.timeout(_LONGEST):
                figures = await drill.run()
            row = page.row(drill, figures, times=times)
        except Exception:
            # The other drills are worth having; this one's line stays as it was.
            traceback.print_exc()
            print(f"{drill.id:4} BROKE OFF {drill.name}", flush=True)
            missed += 1
            continue
        page.save(row)
        missed += not row["kept"]
        verdict = "kept" if row["kept"] else f"MISSED {json.dumps(row['broken'])}"
        took = f"{time.monotonic() - started:.0f} s"
        shown = json.dumps(row["figures"])
        print(f"{drill.id:4} {verdict:8} {took:>5} {drill.name}: {shown}", flush=True)
    print(f"{len(drills)} drills in {time.monotonic() - began:.0f} s, {missed} missed", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faults", nargs="*", help="such as F1 or F13-F22; all by default")
    parser.add_argument("--seconds", type=float, default=3600, help="start no drill after these")
    parser.add_argument("--page", action="store_true", help="only write the page")
    parser.add_argument(
        "--busy", action="store_true", help="others use the machine: keep counts, not times"
    )
    parser.add_argument("--strict", action="store_true", help="fail when a promise was missed")
    asked = parser.parse_args()
    try:
        drills = select(asked.faults)
    except ValueError as error:
        parser.error(str(error))
    missed = 0 if asked.page else asyncio.run(_measure(drills, asked.seconds, times=not asked.busy))
    page.write_page(page.load())
    print(f"{page.PAGE.relative_to(page.ROOT)} written", flush=True)
    return 1 if asked.strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
