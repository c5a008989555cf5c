"""``/v1/models`` and ``/info``: what is served, as OpenAI's and TGI's clients ask for it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from avikam.gateway.admission.admission import Admission
from avikam.gateway.api.protobuf import accepts_protobuf
from avikam.gateway.doors.http.body import PROTOBUF
from avikam.gateway.doors.protobuf_answers import listing
from avikam.gateway.errors import no_worker_ready
from avikam.gateway.workers.catalog import Catalog, unknown_model
from avikam.gateway.workers.pool import Pool
from avikam.protocol.limits import LIMITS
from avikam.v1 import generation_pb2 as pb


class ModelRoutes:
    """Endpoints about models. They tell what the ready workers have now."""

    def __init__(self, pool: Pool, catalog: Catalog, admission: Admission, version: str) -> None:
        self._pool = pool
        self._catalog = catalog
        self._admission = admission
        self._version = version

    async def list_models(self, request: Request) -> Response:
        """Models and adapters."""
        if accepts_protobuf(request):
            return Response(listing(self._pool).SerializeToString(), media_type=PROTOBUF)
        return JSONResponse({"object": "list", "data": list(self._cards().values())})

    async def get_model(self, request: Request) -> Response:
        """One model or adapter by id; ids may have slashes."""
        name = request.path_params["model"]
        cards = self._cards()
        if not cards:
            # Nobody knows yet whether there will be such a model.
            raise no_worker_ready()
        if name not in cards:
            raise unknown_model(name, sorted(cards))
        return JSONResponse(cards[name])

    async def info(self, request: Request) -> Response:
        """TGI's fields, and what the workers run on; null about a model while none is ready."""
        models = self._pool.models
        model = models[min(models)] if models else None
        ready = self._pool.ready
        return JSONResponse(
            {
                **_about(model),
                "max_concurrent_requests": sum(worker.room for worker in ready),
                "max_best_of": 1,
                "max_stop_sequences": LIMITS.stop_strings,
                "validation_workers": 1,
                "max_client_batch_size": LIMITS.prompts,
                "router": "avikam-gateway",
                "version": self._version,
                "sha": None,
                "docker_label": None,
                "workers_ready": len(ready),
                "workers_known": len(self._pool),
                "slots_total": sum(worker.slots for worker in ready),
                "requests_running": self._admission.running,
                "requests_waiting": self._admission.waiting,
            }
        )

    def _cards(self) -> dict[str, dict[str, Any]]:
        models, adapters = self._pool.models, self._pool.adapters
        cards = {name: _card(model) for name, model in sorted(models.items())}
        for name, adapter in sorted(adapters.items()):
            base = models[self._catalog.base_of(name) or min(models)]
            cards[name] = _card(base) | {
                "id": name,
                "parent": base.id,
                "meta": {"digest": adapter.digest, "bytes": adapter.bytes},
            }
        return cards


def _about(model: pb.ModelInfo | None) -> dict[str, Any]:
    """What ``/info`` tells of a model; nulls while there is none to tell of."""
    return {
        "model_id": model and model.id,
        "model_sha": model and model.digest,
        "model_device_type": model and model.device,
        "model_dtype": model and model.weights,
        "max_input_tokens": model and max(model.max_model_len - 1, 0),
        "max_total_tokens": model and model.max_model_len,
        "attention_backend": model and model.attention_backend,
        "parameters": model and model.parameters,
        "vocab_size": model and model.vocab_size,
        "eos_token_ids": model and list(model.end_ids),
        "source": model and (model.source or None),
        "revision": model and (model.revision or None),
        "license": model and (model.licence or None),
        "source_quantization": model and (model.quantisation or None),
    }


def _card(model: pb.ModelInfo) -> dict[str, Any]:
    """OpenAI's four fields and what vLLM's clients look for."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "avikam",
        "root": model.id,
        "parent": None,
        "max_model_len": model.max_model_len,
        "meta": {
            "parameters": model.parameters,
            "vocab_size": model.vocab_size,
            "weights": model.weights,
            "digest": model.digest,
        },
    }
