"""A break in mid-stream changes no byte of the real model's answers, however they are sampled."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.exact import MODES, cutting_cluster, differing
from tests.gateway.harness import RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

# First token, early, inside the first words, late. `make faults ARGS=F1x` tries them all.
INDEXES = (0, 1, 2, 7, 13, 30)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster() -> AsyncIterator[RunningGateway]:
    async with cutting_cluster() as gateway:
        yield gateway


@pytest.mark.parametrize("mode", MODES)
async def test_the_answer_is_that_of_the_unbroken_run(cluster: RunningGateway, mode: str) -> None:
    resumed = _recoveries(cluster)

    assert await differing(cluster, mode, INDEXES) == []

    assert _recoveries(cluster) - resumed >= len(INDEXES) - 1


def _recoveries(gateway: RunningGateway) -> float:
    names = ("midstream_resumes_total", "retries_total")
    return sum(gateway.metric(name, outcome="done") for name in names)
