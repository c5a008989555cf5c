"""Which engine a worker runs. Heavy imports happen here, when the choice is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avikam.engine.interface import Engine
from avikam.model.manifest import MANIFEST
from avikam.worker.settings import WorkerSettings, embedded_model

if TYPE_CHECKING:
    from avikam.engine.kv.prefix_cache import KvOptions


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
        model=_checkpoint(settings),
        device=settings.device,
        weights=settings.weights,
        slots=settings.slots,
        max_model_len=settings.max_model_len,
        token_budget=settings.token_budget,
        queue_requests=settings.queue_requests,
        queue_tokens=settings.queue_tokens,
        threads=settings.threads,
        ranks=settings.ranks,
        native_level="" if settings.native_level == "auto" else settings.native_level,
        ahead=settings.ahead,
        adapters=settings.adapters,
        load_adapters=settings.load_adapters,
        adapter_bytes=settings.adapter_bytes,
        kv=_kv_options(settings),
    )
    return build_real_engine(options)


def _checkpoint(settings: WorkerSettings) -> Path:
    """The folder that ``model`` names, imported first where it is a foreign source."""
    from avikam.model.imports.resolve import resolve_model

    if (settings.model / MANIFEST).is_file() or settings.model == embedded_model():
        return settings.model
    return resolve_model(str(settings.model), settings.stored_type)


def _kv_options(settings: WorkerSettings) -> KvOptions | None:
    from avikam.engine.kv.prefix_cache import KvOptions
    from avikam.engine.kv.redis_tier import RedisOptions

    if not settings.kv_host_bytes:
        return None
    redis = None
    if settings.kv_redis is not None:
        redis = RedisOptions(
            settings.kv_redis.get_secret_value(),
            ttl=settings.kv_redis_ttl_seconds,
            timeout=settings.kv_redis_timeout_seconds,
        )
    return KvOptions(
        host_bytes=settings.kv_host_bytes,
        tenant_share=settings.kv_tenant_share,
        break_even=settings.kv_break_even,
        cold=settings.kv_cold,
        secret="" if settings.kv_secret is None else settings.kv_secret.get_secret_value(),
        redis=redis,
        redis_break_even=settings.kv_redis_break_even,
        patience=settings.kv_load_seconds,
    )


def _fake(settings: WorkerSettings) -> Engine:
    from avikam.engine.fake import FakeEngine
    from avikam.engine.fault_plan import FaultPlan

    return FakeEngine(
        FaultPlan.parse(settings.plan),
        slots=settings.slots,
        queue_requests=settings.queue_requests,
        queue_tokens=settings.queue_tokens,
    )
