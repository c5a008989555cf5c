"""F34-F35: time that jumps."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.cluster import Layout
from tests.faults.drill import Drill, Stage, Z

_SHIFT = Path(tempfile.gettempdir()) / "avikam-faults-clock"


async def wall_clock(stage: Stage) -> None:
    """An hour ahead, an hour back, then a second to and fro."""
    try:
        for shift in (3600, -3600, 1, -1, 1, -1, 0):
            _SHIFT.write_text(str(shift))
            await stage.sleep(1)
    finally:
        _SHIFT.unlink()
    stage.figures["breakers_opened"] = await stage.cluster.metric(
        "avikam_gateway_breaker_transitions_total", to="open"
    )


async def suspended(stage: Stage) -> None:
    """Every process stands still for ten seconds, as in a suspended machine."""
    services = [*stage.cluster.workers, *stage.cluster.gateways]
    for service in services:
        service.send(signal.SIGSTOP)
    await asyncio.sleep(10)
    for service in services:
        service.send(signal.SIGCONT)
    await stage.sleep(4)
    charged = await stage.cluster.metric("avikam_gateway_charged_retries_total")
    stage.figures["charged_retries"] = charged


def drills() -> Iterator[Drill]:
    """This family's lines."""
    strange = Layout(launcher=("-m", "tests.faults.strange"), environ={"FAULTS_CLOCK": str(_SHIFT)})
    yield Drill(
        "F34",
        "wall clock jumps by an hour and by seconds (time.time of every process)",
        {**Z, "refused": 0, "breakers_opened": 0},
        wall_clock,
        strange,
        after=2,
    )
    yield Drill(
        "F35",
        "every process suspended for 10 s",
        {**Z, "refused": 0, "charged_retries": 10},
        suspended,
        Layout(),
        after=2,
    )
