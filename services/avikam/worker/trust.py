"""Who may ask this worker for anything, and whose word it takes on tenants and priorities.

    certificates, or a token       those who prove that they are gateways; their word counts
    loopback                       whoever is on this machine; their word counts
    open, and said so (--open)     everybody; all are one tenant of normal priority

Health is told to everybody: probes have no secrets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from avikam.common.network import is_loopback
from avikam.protocol.worker_token import HEADER, is_one_of, tokens
from avikam.v1 import worker_pb2
from avikam.worker.settings import WorkerSettings

_HEALTH = "/grpc.health.v1.Health/"


class Trust:
    """The worker's settings about it. Raises ValueError where nobody could be told apart."""

    def __init__(self, settings: WorkerSettings) -> None:
        secret = settings.token
        self._tokens = tokens(secret.get_secret_value()) if secret is not None else ()
        self.proven = bool(self._tokens) or settings.tls_key is not None
        self.believes = self.proven or is_loopback(settings.host)
        if not self.believes and not settings.open:
            raise ValueError(
                f"listens on {settings.host} without a token or certificates: anybody could use "
                "it. Set token (the gateways' worker_token) or tls_*, listen on 127.0.0.1, or set "
                "open if a network that you trust is in front"
            )

    def admits(self, method: str, metadata: Iterable[tuple[str, Any]]) -> bool:
        """Whether a call may begin."""
        if not self._tokens or method.startswith(_HEALTH):
            return True
        shown = [value for name, value in metadata if name == HEADER]
        return len(shown) == 1 and is_one_of(shown[0], self._tokens)

    def heed(self, request: worker_pb2.SequenceRequest) -> None:
        """Take out of a request what its sender cannot vouch for."""
        if not self.believes:
            request.tenant = ""
            request.priority = 0
