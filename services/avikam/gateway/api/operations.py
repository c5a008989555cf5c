"""What operators and probes ask: is it alive, is it ready, what does it measure, what is it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from avikam.gateway.drain import Drain
from avikam.gateway.workers.pool import Pool
from avikam.protocol.errors import unavailable
from avikam.v1 import worker_pb2


class OperationRoutes:
    """Endpoints without a model behind them."""

    def __init__(
        self,
        pool: Pool,
        drain: Drain,
        exposition: Callable[[], Awaitable[bytes]],
        version: str,
    ) -> None:
        self._pool = pool
        self._drain = drain
        self._exposition = exposition
        self._version = version

    async def livez(self, request: Request) -> Response:
        """200 while the process serves."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """200 when at least one worker is ready and the gateway is not stopping."""
        if self._drain.started:
            return _not_ready("The gateway is stopping; ask another.", {"status": "draining"})
        ready = len(self._pool.ready)
        if ready:
            return JSONResponse({"status": "ok", "workers_ready": ready})
        states = {"status": "waiting for workers", "workers": self._worker_states()}
        return _not_ready("No worker is ready yet; ask again later.", states)

    async def version(self, request: Request) -> Response:
        """The gateway's version."""
        return JSONResponse({"version": self._version})

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        return Response(await self._exposition(), media_type=CONTENT_TYPE_LATEST)

    def _worker_states(self) -> list[dict[str, Any]]:
        """What each worker says of itself; without addresses, this route is open."""
        return [{"state": _state(worker.status)} for worker in self._pool]


def _state(status: worker_pb2.WorkerStatus | None) -> str:
    if status is None:
        return "unreachable"
    name = worker_pb2.WorkerState.Name(status.state)
    return name.removeprefix("WORKER_STATE_").lower()


def _not_ready(message: str, states: dict[str, Any]) -> Response:
    error = unavailable(message, "not_ready")
    return JSONResponse(states | error.envelope(), error.status, {"retry-after": "2"})
