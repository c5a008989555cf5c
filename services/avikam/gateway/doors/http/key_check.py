"""The check on the way of every HTTP request: after the guard, before anything is parsed.

What has work done (POST) counts against the limits of its account; looking at things does not.

/livez /readyz /health*    open
/metrics                   scope metrics
/v1/(un)load_lora_adapter  scope admin
everything else            scope infer, also paths that do not exist
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.access import keys
from avikam.gateway.access.gatekeeper import Gatekeeper
from avikam.gateway.doors.call import call_of

_SCOPES: dict[str, keys.Scope] = {
    "/metrics": "metrics",
    "/v1/load_lora_adapter": "admin",
    "/v1/unload_lora_adapter": "admin",
}


class KeyCheck:
    """ASGI middleware; ``unguarded`` paths (probes) are open."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper, unguarded: frozenset[str]) -> None:
        self._app = app
        self._gatekeeper = gatekeeper
        self._unguarded = unguarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._unguarded:
            call = call_of(scope)
            client = scope.get("client")
            admitted = self._gatekeeper.admit(
                scope["headers"], client[0] if client else "", needed_scope(scope["path"])
            )
            call.tenant, call.priority = admitted.tenant, admitted.priority
            if admitted.allowance is not None and scope["method"] == "POST":
                call.allowance = admitted.allowance
                async with admitted.allowance.entered():
                    await self._app(scope, receive, send)
                return
        await self._app(scope, receive, send)


def needed_scope(path: str) -> keys.Scope:
    """What a key must be allowed to ask for this path."""
    return _SCOPES.get(path, "infer")
