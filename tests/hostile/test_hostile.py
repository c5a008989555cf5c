"""Two hundred hostile clients of every shape at once: the gateway's memory holds, and nobody else
gets a wrong answer or none. How long answers take meanwhile is on docs/benchmarks/hostile.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.run import measure, stage
from tests.hostile.shapes import SHAPES

# The chart's limit for a gateway.
MOST_MIB = 1024


@pytest.mark.timeout(240)
async def test_two_hundred_hostile_clients_harm_nobody_but_themselves(tmp_path: Path) -> None:
    async with stage(tmp_path) as setting:
        figures = await measure(setting, seconds=15, clients=200)

    assert figures.peak < MOST_MIB, figures.outcomes
    assert figures.under_attack.wrong == []
    assert figures.under_attack.seconds
    assert set(figures.outcomes) == set(SHAPES)
    assert any(figures.outcomes.values())
