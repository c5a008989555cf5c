"""``/v1/load_lora_adapter`` and ``/v1/unload_lora_adapter``: vLLM's routes, for every worker.

all workers did it                 200, with each worker
every worker refused, in one way   that refusal: an unknown folder, a damaged file
anything else                      502 with each worker's outcome; asking again does the rest
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, cast

import grpc
from pydantic import ConfigDict, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from avikam.gateway.api.fields import StrictBody
from avikam.gateway.api.intake import Intake
from avikam.gateway.api.json_body import validate
from avikam.gateway.errors import no_worker_ready, upstream_unavailable
from avikam.gateway.workers.catalog import ALIASES
from avikam.gateway.workers.pool import Pool
from avikam.gateway.workers.worker import Worker
from avikam.protocol.errors import ApiError, invalid, renamed
from avikam.protocol.rpc_errors import Trailers, from_trailers
from avikam.v1 import worker_pb2

# Weights are read from a disk that may be slow.
# What the engine calls otherwise.
_NAMES = {"name": "lora_name", "path": "lora_path"}
_SECONDS = 120.0
# A status comes on every change, and at least every second.
_TOLD_SECONDS = 2.0


# Workers check it: it becomes part of paths and of metrics.
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"}


class LoadAdapterBody(StrictBody):
    """What to load, from the workers' adapter folder."""

    model_config = ConfigDict(strict=True, extra="ignore")

    lora_name: Annotated[str, WithJsonSchema(_NAME)] = Field(min_length=1, max_length=128)
    lora_path: str = Field(min_length=1, max_length=1024, description="Folder below the root.")


class UnloadAdapterBody(StrictBody):
    """What to unload."""

    model_config = ConfigDict(strict=True, extra="ignore")

    lora_name: str = Field(min_length=1, max_length=128)


@dataclass(frozen=True, slots=True)
class _Outcome:
    worker: str
    digest: str = ""
    error: ApiError | None = None

    def as_json(self) -> dict[str, Any]:
        if self.error is None:
            return {"worker": self.worker, "ok": True}
        return {"worker": self.worker, "ok": False, **self.error.envelope()}


class AdapterRoutes:
    """Endpoints of administrators."""

    def __init__(self, door: Intake, pool: Pool) -> None:
        self._door = door
        self._pool = pool

    async def load(self, request: Request) -> Response:
        """Load a LoRA adapter on every worker."""
        body = validate(LoadAdapterBody, await self._door.read_object(request))
        if body.lora_name in ALIASES or body.lora_name in self._pool.models:
            raise invalid(
                f"{body.lora_name!r} already names a model; give the adapter another name",
                "lora_name",
            )
        message = worker_pb2.LoadAdapterRequest(name=body.lora_name, path=body.lora_path)

        async def call(worker: Worker) -> str:
            reply = await worker.stub.LoadAdapter(message, timeout=_SECONDS)
            digest: str = reply.adapter.digest
            await self._told(worker, body.lora_name, digest)
            return digest

        return await self._everywhere(body.lora_name, call)

    async def unload(self, request: Request) -> Response:
        """Unload a LoRA adapter on every worker."""
        body = validate(UnloadAdapterBody, await self._door.read_object(request))
        message = worker_pb2.UnloadAdapterRequest(name=body.lora_name)

        async def call(worker: Worker) -> str:
            await worker.stub.UnloadAdapter(message, timeout=_SECONDS)
            await self._told(worker, body.lora_name, "")
            return ""

        return await self._everywhere(body.lora_name, call)

    async def _told(self, worker: Worker, name: str, digest: str) -> None:
        """Wait until the worker's status says it too: who is answered may count on it at once."""
        until = time.monotonic() + _TOLD_SECONDS
        while worker.adapter_digest(name) != digest and (left := until - time.monotonic()) > 0:
            await self._pool.wait_for_change(left)

    async def _everywhere(self, name: str, call: Callable[[Worker], Awaitable[str]]) -> Response:
        outcomes = await asyncio.gather(*(_outcome(worker, call) for worker in self._pool))
        if not outcomes:
            raise no_worker_ready()
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        if not failed:
            digests = sorted({outcome.digest for outcome in outcomes} - {""})
            reply = {"id": name, "object": "adapter", "digests": digests}
            return JSONResponse(reply | {"workers": [one.as_json() for one in outcomes]})
        refusal = failed[0].error
        same = refusal is not None and all(one.error == refusal for one in failed)
        if refusal is not None and same and len(failed) == len(outcomes):
            raise refusal
        return _partly(outcomes, len(failed))


async def _outcome(worker: Worker, call: Callable[[Worker], Awaitable[str]]) -> _Outcome:
    name = worker.status.worker_id if worker.status is not None else worker.address
    try:
        return _Outcome(name, await call(worker))
    except grpc.aio.AioRpcError as failed:
        metadata = cast("Trailers", failed.trailing_metadata() or ())
        meant = from_trailers(failed.details() or "", metadata)
        error = upstream_unavailable() if meant is None else renamed(meant, _NAMES)
        return _Outcome(name, error=error)


def _partly(outcomes: list[_Outcome], failed: int) -> Response:
    error = ApiError(
        502,
        f"{failed} of {len(outcomes)} workers failed; send it again for those.",
        "adapter_incomplete",
    )
    workers = [outcome.as_json() for outcome in outcomes]
    return JSONResponse({**error.envelope(), "workers": workers}, error.status)
