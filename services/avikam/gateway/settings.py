"""Everything that can be set about a gateway."""

from __future__ import annotations

from pydantic import Field

from avikam.protocol.settings import Addresses, Port, Settings


class GatewaySettings(Settings):
    """The numbers a gateway runs with; see :mod:`avikam.protocol.settings` for their sources."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    http_port: Port = Field(default=8000, description="Port of the REST API; 0 takes a free one.")
    grpc_port: Port | None = Field(
        default=None, description="Port of the public gRPC API; off by default."
    )
    metrics_port: Port | None = Field(
        default=None, description="Own port for /metrics; off serves it on the REST port."
    )
    workers: Addresses = Field(
        default=("127.0.0.1:50051",), description="Workers as host:port, separated by commas."
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, description="How long a stopping gateway lets requests finish."
    )
