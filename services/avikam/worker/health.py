"""Standard gRPC health: SERVING while the worker takes work, for the server and for the service."""

from __future__ import annotations

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # type: ignore[attr-defined]

from avikam.v1 import worker_pb2
from avikam.worker.status import StatusBoard, WorkerState

WORKER_SERVICE = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name
HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """grpc.health.v1, following the status board."""

    def __init__(self, board: StatusBoard) -> None:
        self._board = board
        self._servicer = health_aio.HealthServicer()
        self._told: WorkerState | None = None

    def add_to(self, server: aio.Server) -> None:
        """Serve grpc.health.v1 there."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def follow(self) -> None:
        """Tell watchers when the state has changed."""
        if self._board.state is self._told:
            return
        self._told = self._board.state
        serving = self._told is WorkerState.READY
        answer = health_pb2.HealthCheckResponse
        for name in ("", WORKER_SERVICE):
            await self._servicer.set(name, answer.SERVING if serving else answer.NOT_SERVING)
