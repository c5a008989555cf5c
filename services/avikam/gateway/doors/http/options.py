"""OPTIONS: which methods a path takes. Answered before keys are asked, for it tells no secret.

Load balancers ask ``OPTIONS /`` or ``OPTIONS *`` to see whether somebody is there (HAProxy's
``option httpchk`` by default), without a key.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.routes import Route, allowed_methods, routes_at

_SERVER = "*"


class Options:
    """ASGI middleware; paths that no route has go on to be refused like with any other method."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods: set[str] = set()
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            methods = self._methods(scope)
        if not methods:
            await self._app(scope, receive, send)
            return
        allow = ", ".join(sorted(methods | {"OPTIONS"}))
        await Response(status_code=204, headers={"allow": allow})(scope, receive, send)

    def _methods(self, scope: Scope) -> set[str]:
        path = scope["path"]
        if path == _SERVER:
            return {"HEAD", *(route.method for route in self._routes)}
        found = routes_at(self._routes, path)
        if found:
            call_of(scope).route = found[0].path
        return allowed_methods(self._routes, path)
