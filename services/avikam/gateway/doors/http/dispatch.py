"""The end of the way in: the endpoint of the route that was matched answers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from avikam.gateway.doors.http.router import Router, match_of


class Dispatch:
    """ASGI application; what the router found no route for gets its 404, 405 or list of methods."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the endpoint's answer. Raises ApiError."""
        match = match_of(scope)
        if match.route is not None:
            response = await match.route.endpoint(Request(scope, receive, send))
        elif scope["method"] == "OPTIONS" and match.methods:
            allow = ", ".join((*match.methods, "OPTIONS"))
            response = Response(status_code=204, headers={"allow": allow})
        else:
            raise self._router.refusal(match, scope["method"])
        await response(scope, receive, send)
