"""What the gateway says to a trace, whoever writes it: an exporter's spans, or nobody.

The layers below see these protocols only; :mod:`avikam.gateway.request_trace` implements them, and
is imported once tracing is switched on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from avikam.protocol.errors import ApiError
from avikam.v1 import worker_pb2


class AttemptTrace(Protocol):
    """The span of one try on a worker."""

    def end(self, finish: worker_pb2.Finish | None, failure: Any) -> None:
        """It finished, failed, or nobody waits for it any more."""


class RequestTrace(Protocol):
    """One request's span. ``generation`` is what the request became, if it generates."""

    generation: Any

    @property
    def id(self) -> str:
        """The trace's id, in hexadecimal; empty when it is not recorded."""

    def attempt(self, request: worker_pb2.SequenceRequest, address: str) -> AttemptTrace:
        """A try on the worker at ``address`` begins; the request takes its context along."""

    def fail(self, error: ApiError) -> None:
        """What the client is told instead of an answer, or at the end of one."""

    def end(self, call: Any, method: str | None) -> None:
        """The request has ended. ``method`` is HTTP's; None for an RPC."""


class Traces(Protocol):
    """Begins the traces of a gateway's requests."""

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> RequestTrace:
        """The trace of a request that has come; it continues the client's, if there is one."""

    async def close(self) -> None:
        """Send what waits, for a bounded time."""
