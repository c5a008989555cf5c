"""Compiling grammars: a tenant waits for itself, and whoever waits gives signs of life."""

from __future__ import annotations

import asyncio
import threading

import pytest

from avikam.protocol.errors import ApiError
from avikam.worker import compiling as module
from avikam.worker.compiling import Compiling
from tests.worker.harness import eventually


class Bench:
    """Compiles that go on until they are let go, by tenant."""

    def __init__(self, seconds: float = 30.0) -> None:
        self.compiling = Compiling(seconds=seconds)
        self.running: list[str] = []
        self.signs = 0
        self._doors: dict[str, threading.Event] = {}

    def start(self, tenant: str) -> asyncio.Task[None]:
        """A compile of the tenant."""
        door = self._doors.setdefault(tenant, threading.Event())

        def work() -> None:
            self.running.append(tenant)
            assert door.wait(20)
            self.running.remove(tenant)

        async def sign() -> None:
            self.signs += 1

        return asyncio.create_task(self.compiling.run(tenant, "regex", work, sign))

    def let_go(self, tenant: str) -> None:
        """Compiles of the tenant are quick from now on."""
        self._doors[tenant].set()


async def test_a_tenant_has_one_thread_whatever_it_sends() -> None:
    bench = Bench()
    alphas = [bench.start("alpha") for _ in range(20)]
    await eventually(lambda: bench.running == ["alpha"])

    beta = bench.start("beta")
    await eventually(lambda: "beta" in bench.running)
    assert bench.running.count("alpha") == 1
    bench.let_go("beta")
    await beta

    bench.let_go("alpha")
    await asyncio.gather(*alphas)
    assert not bench.compiling._accounts


async def test_too_many_that_wait_are_refused_and_the_others_go_on() -> None:
    bench = Bench()
    waiting = [bench.start("alpha") for _ in range(module._MOST_WAITING + 1)]
    await eventually(lambda: bench.running == ["alpha"])

    with pytest.raises(ApiError) as refusal:
        await bench.start("alpha")

    assert refusal.value.status == 429
    bench.let_go("alpha")
    await asyncio.gather(*waiting)


async def test_one_that_takes_too_long_ends_its_request_and_keeps_its_tenants_place() -> None:
    bench = Bench(seconds=0.1)
    with pytest.raises(ApiError) as refusal:
        await bench.start("alpha")
    assert (refusal.value.status, refusal.value.param) == (400, "regex")
    assert refusal.value.code == "grammar_too_slow"

    second = bench.start("alpha")
    await asyncio.sleep(0.3)
    assert bench.running == ["alpha"], "a thread that is not done is not given away"
    bench.let_go("alpha")
    await second


async def test_one_that_waits_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIGN_SECONDS", 0.02)
    bench = Bench()
    running, waits = bench.start("alpha"), bench.start("alpha")
    await eventually(lambda: bench.signs > 5)
    bench.let_go("alpha")
    await asyncio.gather(running, waits)


async def test_one_whose_caller_leaves_gives_its_place_to_the_next() -> None:
    bench = Bench()
    first, second, third = (bench.start("alpha") for _ in range(3))
    await eventually(lambda: bench.running == ["alpha"])
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    bench.let_go("alpha")
    await third
    await eventually(lambda: not bench.compiling._accounts)


async def test_what_the_compiler_refuses_is_the_requests_error() -> None:
    def work() -> None:
        raise ApiError(400, "regex cannot be used", "invalid_grammar", "regex")

    async def sign() -> None:
        return None

    compiling = Compiling()
    with pytest.raises(ApiError, match="cannot be used"):
        await compiling.run("alpha", "regex", work, sign)
    await compiling.run("alpha", "regex", lambda: None, sign)
