"""What operators and probes ask: is it alive, is it ready, what does it measure, what is it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from avikam.gateway.drain import Drain
from avikam.gateway.metrics import GatewayMetrics
from avikam.gateway.workers.pool import Pool
from avikam.v1 import worker_pb2


class OperationRoutes:
    """Endpoints without a model behind them."""

    def __init__(
        self,
        pool: Pool,
        drain: Drain,
        metrics: GatewayMetrics,
        refresh: Callable[[], None],
        version: str,
    ) -> None:
        self._pool = pool
        self._drain = drain
        self._metrics = metrics
        self._refresh = refresh
        self._version = version

    async def livez(self, request: Request) -> Response:
        """200 while the process serves."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """200 when at least one worker is ready and the gateway is not stopping."""
        if self._drain.started:
            return _not_ready({"status": "draining"})
        ready = len(self._pool.ready)
        if ready:
            return JSONResponse({"status": "ok", "workers_ready": ready})
        return _not_ready({"status": "waiting for workers", "workers": self._worker_states()})

    async def version(self, request: Request) -> Response:
        """The gateway's version."""
        return JSONResponse({"version": self._version})

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        self._refresh()
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def _worker_states(self) -> list[dict[str, Any]]:
        """What each worker says of itself; without addresses, this route is open."""
        return [{"state": _state(worker.status)} for worker in self._pool]


def _state(status: worker_pb2.WorkerStatus | None) -> str:
    if status is None:
        return "unreachable"
    name = worker_pb2.WorkerState.Name(status.state)
    return name.removeprefix("WORKER_STATE_").lower()


def _not_ready(body: dict[str, Any]) -> Response:
    return JSONResponse(body, 503, {"retry-after": "2"})
