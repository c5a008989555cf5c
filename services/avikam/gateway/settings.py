"""Everything that can be set about a gateway."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from avikam.common.settings import Addresses, Port, Settings, Texts
from avikam.common.tls import certificate_files
from avikam.protocol.limits import LIMITS, MIB
from avikam.protocol.worker_token import tokens

_LABELS = r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?"
_NAME = re.compile(rf"\*|(\*\.)?{_LABELS}|\[?[0-9a-f:.]*:[0-9a-f:.]*\]?", re.IGNORECASE)
# Without a path, in small letters, and without the scheme's own port: compared as it stands.
_ORIGIN = re.compile(rf"[a-z][a-z0-9+.-]*://({_LABELS}|\[[0-9a-f:.]+\])(:[0-9]{{1,5}})?")

_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")


class GatewaySettings(Settings):
    """The numbers a gateway runs with; see :mod:`avikam.common.settings` for their sources."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on; other than loopback it needs a key file.",
    )
    http_port: Port = Field(default=8000, description="Port of the REST API; 0 takes a free one.")
    grpc_port: Port | None = Field(
        default=None, description="Port of the public gRPC API; off by default."
    )
    metrics_port: Port | None = Field(
        default=None, description="Own port for /metrics; off serves it on the REST port."
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, description="How long a stopping gateway lets requests finish."
    )
    drain_notice_seconds: float = Field(
        default=5.0,
        ge=0,
        description="How long a stopping gateway still accepts requests while it is unready.",
    )
    access_log: bool = Field(default=False, description="Log every request, not only failed ones.")
    docs: bool = Field(default=True, description="Serve /docs and /openapi.json.")
    console: bool = Field(default=True, description="Serve browsers a page for chat at /.")

    # Workers
    workers: Addresses = Field(
        default=("127.0.0.1:50051",),
        description="Workers as host:port, separated by commas; dns:NAME:PORT takes every address "
        "of a name, registry every worker that announced itself in redis.",
    )
    discovery_seconds: float = Field(
        default=2.0,
        gt=0,
        description="How often DNS names and the registry of workers are looked up.",
    )
    routing: Literal["affinity", "least_cost", "round_robin", "power_of_two"] = Field(
        default="affinity", description="How a worker is chosen."
    )
    lenient_model_name: bool = Field(
        default=False, description="Take unknown model names for the server's model."
    )
    worker_token: SecretStr | None = Field(
        default=None,
        description="Secret that is shown to workers (their token); of several, separated by "
        "commas, the first. Best given as a file, AVIKAM_GATEWAY__WORKER_TOKEN_FILE.",
    )
    worker_tls_key: Path | None = Field(
        default=None, description="Own private key, PEM; without it workers are asked unencrypted."
    )
    worker_tls_certificate: Path | None = Field(default=None, description="Own certificate, PEM.")
    worker_tls_authority: Path | None = Field(
        default=None, description="Who signs the certificates of workers, PEM."
    )
    worker_tls_name: str = Field(
        default="avikam-worker", description="Name that a worker's certificate must have."
    )
    heartbeat_seconds: float = Field(
        default=3.0, gt=0, description="Silence of a worker's engine after which it is given up."
    )

    # Time
    request_timeout_seconds: float = Field(
        default=300.0, gt=0, description="Deadline of a request that names none."
    )
    max_request_timeout_seconds: float = Field(
        default=600.0, gt=0, description="Longest deadline a request may name."
    )
    first_worker_seconds: float = Field(
        default=30.0, ge=0, description="How long requests wait for a first worker to be ready."
    )

    same_weights_seconds: float = Field(
        default=10.0,
        ge=0,
        description="How long a started answer waits for a worker with its weights, while workers "
        "with others are ready.",
    )

    # Retries
    retries: int = Field(default=3, ge=0, description="Charged retries of a request.")
    retry_pause_seconds: float = Field(
        default=0.5, ge=0, description="Pause before a charged retry, give or take 20 %."
    )
    retry_budget: float = Field(
        default=0.1, ge=0, description="Charged retries per request of the last ten seconds."
    )
    resumes: int = Field(
        default=3, ge=0, description="Times a started request may continue on another worker."
    )

    # Admission
    queue_requests: int = Field(
        default=1024, ge=0, description="Sequences that may wait in the gateway."
    )
    queue_tokens: int = Field(
        default=1_000_000, ge=0, description="Estimated tokens that may wait in the gateway."
    )
    batch_concurrency: int = Field(
        default=32, ge=1, description="Sequences of one request that run at once."
    )
    max_requests: int = Field(
        default=4096, ge=1, description="Requests in the gateway; more are refused unread."
    )
    max_loop_lag_ms: int = Field(
        default=250,
        ge=0,
        description="Refuse new generations with 503 while everything that the gateway does is at "
        "least so late; 0: never.",
    )
    body_bytes: int = Field(
        default=256 * MIB,
        ge=LIMITS.protobuf_body_bytes,
        description="Memory for large requests, of all clients together: what their bodies become, "
        "and what their answers take until they are sent; more are told to come back.",
    )

    # Guard
    max_connections: int = Field(
        default=2000, ge=1, description="Open HTTP connections, and as many of gRPC."
    )
    max_connections_per_client: int = Field(
        default=2000, ge=1, description="Open HTTP connections of one address."
    )
    header_timeout_seconds: float = Field(
        default=10.0, gt=0, description="How long a client may take to send its headers."
    )
    keep_alive_seconds: float = Field(
        default=75.0,
        gt=0,
        description="How long an idle connection is kept: longer than the proxies and clients in "
        "front keep theirs, so that they close first.",
    )
    body_timeout_seconds: float = Field(
        default=30.0, gt=0, description="How long a client may take to send its body."
    )
    slow_client_seconds: float = Field(
        default=30.0, gt=0, description="How long a stream waits for a client that stopped reading."
    )

    # Access
    keys: Path | None = Field(
        default=None, description="Key file; off serves loopback clients without keys."
    )

    hosts: Texts = Field(
        default=(),
        description="Names that Host may have beside loopback ones; *.example.org is every name "
        "below it, * any name. Others are refused. While this is empty: with keys any name may "
        "come, without keys only names that the public DNS gives to nobody.",
    )
    cors_origins: Texts = Field(
        default=(),
        description="Origins whose web pages may use the API, e.g. https://app.example.org; none "
        "by default.",
    )
    trusted_proxies: Texts = Field(
        default=(),
        description="Addresses or networks of proxies whose X-Forwarded-For, -Proto and -Prefix "
        "are believed, e.g. 10.0.0.0/8; none by default.",
    )
    root_path: str = Field(
        default="",
        description="Path under which a proxy serves the gateway, e.g. /llm, whether it cuts it "
        "off or not.",
    )

    # Limits of a tenant, where the key file gives a key none of its own
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Requests a tenant may send in a minute."
    )
    tokens_per_minute: int | None = Field(
        default=None,
        ge=1,
        description="Tokens a tenant may use in a minute: prompts and answers, as estimated first.",
    )
    concurrent_requests: int | None = Field(
        default=None, ge=1, description="Requests of a tenant that one gateway runs at once."
    )

    # What gateways share
    redis: SecretStr | None = Field(
        default=None,
        description="URL of a Redis that gateways share, e.g. redis://host:6379; without one, or "
        "while it fails, each counts for itself.",
    )
    redis_secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Secret of the gateways that share redis, and of nobody else: seals what they "
        "keep there and hides names. Without it, an answer under an Idempotency-Key is known only "
        "to the gateway that made it.",
    )
    redis_timeout_seconds: float = Field(
        default=0.05, gt=0, description="Time limit of one answer from Redis."
    )
    idempotency_seconds: float = Field(
        default=600.0, gt=0, description="How long an answer is kept under its Idempotency-Key."
    )
    idempotency_bytes: int = Field(
        default=64 * 2**20, ge=0, description="Memory for such answers; the oldest leave first."
    )

    @field_validator("hosts")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name such as llm.example.org; without a port")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _exact_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is not an origin as browsers write it, such as "
                    "https://app.example.org or http://localhost:5173"
                )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"{network!r} is not an address or a network: {error}") from None
        return value

    @field_validator("root_path")
    @classmethod
    def _absolute_path(cls, value: str) -> str:
        if not _ROOT_PATH.fullmatch(value):
            raise ValueError(f"{value!r} is not a path such as /llm or /team/llm")
        return value.rstrip("/")

    @field_validator("worker_token")
    @classmethod
    def _strong_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None:
            tokens(token.get_secret_value())
        return token

    @model_validator(mode="after")
    def _whole_certificate(self) -> GatewaySettings:
        certificate_files(
            self.worker_tls_key, self.worker_tls_certificate, self.worker_tls_authority
        )
        return self
