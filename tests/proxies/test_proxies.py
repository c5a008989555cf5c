"""Behind what people put in front of it, the gateway gives no client another's answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import pytest

from tests.proxies.conftest import REQUESTS, Behind
from tests.proxies.fronts import (
    INGRESS,
    PLAIN,
    UNBUFFERED,
    go_proxy,
    haproxy,
    haproxy_status,
    nginx,
)
from tests.proxies.mixed import KINDS, MixedLoad, Tally

Front = Callable[[int, Path], AbstractContextManager[int]]

FRONTS: dict[str, Front] = {
    "nothing": lambda gateway, folder: nullcontext(gateway),
    "nginx": partial(nginx, location=PLAIN),
    "nginx-ingress": partial(nginx, location=INGRESS),
    "nginx-unbuffered": partial(nginx, location=UNBUFFERED),
    "haproxy": haproxy,
    "go": go_proxy,
}


async def through(port: int, behind: Behind) -> Tally:
    return await MixedLoad(port, REQUESTS, behind.expected).run()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FRONTS)
def test_no_answer_is_anothers(behind: Behind, tmp_path: Path, name: str) -> None:
    with FRONTS[name](behind.port, tmp_path) as port:
        tally = asyncio.run(through(port, behind))

    print(f"{name}: {tally.right} right, {tally.again} of them asked again")
    assert tally.wrong == []
    assert tally.lost == []
    assert tally.right == REQUESTS
    assert len(tally.kinds) == len(KINDS)


def test_haproxys_default_check_finds_the_gateway_up(behind: Behind, tmp_path: Path) -> None:
    with haproxy(behind.port, tmp_path):
        for _ in range(200):
            status = haproxy_status(tmp_path)
            if status["check_status"].startswith("L"):
                break
            time.sleep(0.05)

    assert (status["status"], status["check_status"]) == ("UP", "L7OK")
