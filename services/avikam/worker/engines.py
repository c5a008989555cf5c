"""Which engine a worker runs. Heavy imports happen here, when the choice is made."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

from avikam.engine.interface import Engine
from avikam.worker.settings import WorkerSettings


def build_engine(settings: WorkerSettings) -> Engine:
    """The engine that the settings name, loaded and ready.

    Raises ``OSError`` or ``ValueError`` when the checkpoint, the device or the plan is unusable.
    """
    if settings.engine == "fake":
        return _fake(settings)
    return _real(settings)


def _real(settings: WorkerSettings) -> Engine:
    from avikam.engine.build import EngineOptions
    from avikam.engine.build import build_engine as build_real_engine

    options = EngineOptions(
        model=settings.model,
        device=settings.device,
        weights=settings.weights,
        slots=settings.slots,
        token_budget=settings.token_budget,
        queue_requests=settings.queue_requests,
        queue_tokens=settings.queue_tokens,
        threads=settings.threads,
        adapters=settings.adapters,
        adapter_bytes=settings.adapter_bytes,
    )
    return build_real_engine(options)


def _fake(settings: WorkerSettings) -> Engine:
    from avikam.engine.fake import FakeEngine
    from avikam.engine.fault_plan import FaultPlan

    return FakeEngine(
        FaultPlan.parse(settings.plan),
        slots=settings.slots,
        queue_requests=settings.queue_requests,
        queue_tokens=settings.queue_tokens,
    )


async def in_thread(build: Callable[[], Engine]) -> Engine:
    """Run ``build`` in a thread that nobody has to wait for when the worker is told to stop."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Engine] = loop.create_future()

    def settle(engine: Engine | None, error: BaseException | None) -> None:
        if result.done():
            return
        if engine is not None:
            result.set_result(engine)
        elif error is not None:
            result.set_exception(error)

    def work() -> None:
        engine, problem = None, None
        try:
            engine = build()
        except BaseException as error:  # raised again by whoever awaits
            problem = error
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, engine, problem)

    threading.Thread(target=work, name="load-engine", daemon=True).start()
    return await result
