"""F57: any callback may raise."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.cluster import Layout
from tests.faults.drill import Drill, Stage


async def raising(stage: Stage) -> None:
    """One call in a thousand of the gateway's inner parts raises, all the time."""
    await stage.sleep(10)
    gateway = stage.cluster.gateway
    stage.figures["process_deaths"] = int(not gateway.alive)
    stage.figures["raised"] = gateway.log.count("the drill raises here")


def drills() -> Iterator[Drill]:
    """This family's line."""
    yield Drill(
        "F57",
        "exceptions in the gateway's callbacks, one call in 1,000",
        {"cut": 0, "lost": 0, "duplicated": 0, "leaked": 0, "process_deaths": 0},
        raising,
        Layout(launcher=("-m", "tests.faults.strange"), environ={"FAULTS_RAISE": "0.001"}),
        after=1,
    )
