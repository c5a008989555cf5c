"""Everything that can be set about a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

import avikam
from avikam.common.settings import Port, Settings, Texts
from avikam.common.tls import certificate_files
from avikam.engine.fault_plan import FaultPlan
from avikam.protocol.worker_token import tokens

EMBEDDED_MODEL = "avikam1-nano"


def embedded_model() -> Path:
    """The checkpoint folder that ships with the package, or lies beside it in a clone."""
    package = Path(avikam.__file__).parent
    shipped = package / "models" / EMBEDDED_MODEL
    return shipped if shipped.is_dir() else package.parents[1] / "models" / EMBEDDED_MODEL


class WorkerSettings(Settings):
    """The numbers a worker runs with; see :mod:`avikam.common.settings` for their sources."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; other than loopback it needs a token, certificates, or "
        "open.",
    )
    port: Port = Field(default=50051, description="Port of the gRPC service; 0 takes a free one.")
    metrics_port: Port | None = Field(
        default=9091,
        description="Port of /metrics, /livez and /readyz; 0 takes a free one, off means none.",
    )
    token: SecretStr | None = Field(
        default=None,
        description="Secret that gateways show (their worker_token); several, separated by commas, "
        "are all taken. Best given as a file, AVIKAM_WORKER__TOKEN_FILE.",
    )
    open: bool = Field(
        default=False,
        description="Listen on an address that others reach without token or certificates; "
        "tenants and priorities that callers name do not count then.",
    )
    tls_key: Path | None = Field(
        default=None, description="Own private key, PEM; without it gateways come unencrypted."
    )
    tls_certificate: Path | None = Field(default=None, description="Own certificate, PEM.")
    tls_authority: Path | None = Field(
        default=None, description="Who signs the certificates of gateways, PEM."
    )
    model: Path = Field(
        default_factory=embedded_model,
        description="Checkpoint folder, Hugging Face folder, .gguf file, org/name[@revision] on "
        "the hub, or smollm2; the embedded model by default.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the model runs; auto takes a GPU when there is one."
    )
    weights: Literal["auto", "int8", "bfloat16", "float32", "int4", "llm-int8", "nf4"] = Field(
        default="auto",
        description="Number format of the weights; auto keeps the checkpoint's. "
        "llm-int8 and nf4 need bitsandbytes.",
    )
    native_level: Literal["auto", "avx2", "avx-vnni", "avx512-vnni"] = Field(
        default="auto",
        description="Instructions that native CPU steps use; auto takes the best that the "
        "processor has. All give the same answers.",
    )
    slots: int = Field(default=32, ge=1, description="Sequences that run at the same time.")
    max_model_len: int = Field(
        default=0,
        ge=0,
        description="Longest prompt and answer in tokens; 0 takes the model's own, or less where "
        "the slots would not fit into memory.",
    )
    token_budget: int = Field(
        default=512, ge=64, multiple_of=64, description="Tokens computed per step at most."
    )
    queue_requests: int = Field(default=1024, ge=0, description="Sequences that may wait.")
    queue_tokens: int = Field(
        default=1_000_000,
        ge=0,
        description="Tokens of work (prompt + max_tokens / 2) held at most, over all sequences.",
    )
    threads: int = Field(
        default=0, ge=0, description="CPU threads of the model; 0 decides by its size."
    )
    ranks: int = Field(
        default=1,
        ge=1,
        le=4,
        description="Processes that share the model (tensor parallelism), one GPU each: 1, 2 or 4.",
    )
    ahead: bool = Field(
        default=True,
        description="On a GPU: decode by CUDA graphs, and launch a step before the last is read.",
    )
    adapters: Path | None = Field(
        default=None, description="Folder that LoRA adapters may be loaded from; off without it."
    )
    load_adapters: Texts = Field(
        default=(),
        description="Adapters to load at the start, separated by commas: folders inside adapters, "
        "or NAME=FOLDER.",
    )
    adapter_bytes: int = Field(
        default=256 * 2**20, ge=0, description="Memory for loaded adapters; idle ones leave first."
    )
    kv_host_bytes: int = Field(
        default=256 * 2**20,
        ge=0,
        description="Memory for the states of known prefixes; 0 computes every prompt anew.",
    )
    kv_tenant_share: float = Field(
        default=0.5, gt=0, le=1, description="Part of it that a tenant keeps when room is needed."
    )
    kv_break_even: int = Field(
        default=64, ge=1, description="Tokens below which a known prefix is computed anew."
    )
    kv_redis: SecretStr | None = Field(
        default=None,
        description="URL of a Redis where workers share states, e.g. redis://host:6379.",
    )
    kv_redis_break_even: int = Field(
        default=256, ge=1, description="Tokens that a state from Redis must spare to be fetched."
    )
    kv_redis_ttl_seconds: int = Field(
        default=3600, ge=1, description="How long Redis keeps a state that nobody asks for."
    )
    kv_redis_timeout_seconds: float = Field(
        default=0.05, gt=0, description="Time limit of one answer from Redis."
    )
    kv_load_seconds: float = Field(
        default=0.1, ge=0, description="How long a sequence waits for a state from Redis at most."
    )
    kv_cold: Literal["exact", "int8"] = Field(
        default="exact",
        description="How Redis keeps float states: exact, or int8 at a small loss of quality.",
    )
    kv_secret: SecretStr | None = Field(
        default=None,
        description="Secret of all workers that share a Redis: seals states, hides their keys.",
    )
    drain_accept_seconds: float = Field(
        default=5.0,
        ge=0,
        description="How long a stopping worker still accepts what gateways send unaware.",
    )
    drain_seconds: float = Field(
        default=60.0,
        ge=0,
        description="How long a stopping worker lets sequences finish before it hands them over.",
    )
    stall_seconds: float = Field(
        default=10.0,
        gt=0,
        description="After this long without an engine step while work waits, health fails.",
    )
    registry: SecretStr | None = Field(
        default=None,
        description="URL of a Redis where gateways find this worker, e.g. redis://host:6379.",
    )
    registry_address: str = Field(
        default="", description="Address to register, host:port; by default where it listens."
    )
    worker_id: str = Field(
        default="", description="Name in status, metrics and logs; host name and port by default."
    )
    engine: Literal["real", "fake"] = Field(
        default="real", description="fake answers from a plan instead of a model, for tests."
    )
    plan: str = Field(
        default="",
        description="The fake engine's pace and faults, e.g. ttft=20ms,tpot=2ms,die@17.",
    )

    @property
    def stored_type(self) -> Literal["int8", "bfloat16", "float32"]:
        """How a foreign model is stored when it is imported for these settings."""
        if self.weights == "float32":
            return "float32"
        exact = self.weights == "int8" or (self.weights == "auto" and self.device != "cuda")
        return "int8" if exact else "bfloat16"

    @model_validator(mode="after")
    def _whole_certificate(self) -> WorkerSettings:
        certificate_files(self.tls_key, self.tls_certificate, self.tls_authority)
        return self

    @field_validator("token")
    @classmethod
    def _strong_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None:
            tokens(token.get_secret_value())
        return token

    @field_validator("plan")
    @classmethod
    def _readable_plan(cls, plan: str) -> str:
        FaultPlan.parse(plan)
        return plan
