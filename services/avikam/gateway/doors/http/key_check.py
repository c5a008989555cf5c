"""The check on the way of every HTTP request: after the guard, before anything is parsed.

What a key needs is told by the route that was matched (see :mod:`.router`): the probes are open,
``/metrics`` and the adapters' routes have scopes of their own, and what does not exist asks for the
scope ``infer`` before it says so. What has work done counts against the limits of its account;
looking at things does not.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.access.gatekeeper import Gatekeeper
from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.router import match_of


class KeyCheck:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper) -> None:
        self._app = app
        self._gatekeeper = gatekeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on for its key's tenant. Raises ApiError (401, 403, 429)."""
        match, call = match_of(scope), call_of(scope)
        client = scope.get("client")
        address = client[0] if client else ""
        admitted = self._gatekeeper.admit(scope["headers"], address, match.access)
        call.tenant, call.priority = admitted.tenant, admitted.priority
        if match.route is not None:
            # Only now: what strangers try is counted as one thing.
            call.route = match.route.path
        if admitted.allowance is not None and match.route is not None and match.route.works:
            call.allowance = admitted.allowance
            async with admitted.allowance.entered():
                await self._app(scope, receive, send)
            return
        await self._app(scope, receive, send)
