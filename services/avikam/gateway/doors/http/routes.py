"""The route table, and FastAPI made from it.

Every route is declared once: its path, its endpoint, what it reads. From the table come the
framework's routes, the OpenAPI document, the index at ``/`` and the answers to wrong paths.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.errors import error_response
from avikam.gateway.doors.http.not_found import method_not_allowed, not_found
from avikam.gateway.doors.http.openapi import document, operation
from avikam.protocol.errors import ApiError

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method. ``bodies`` are the models it reads, ``replies`` those it answers with;
    ``stream`` that it may stream; ``media_type`` what an answer is."""

    method: str
    path: str
    endpoint: Endpoint
    bodies: tuple[type[BaseModel], ...] = ()
    stream: bool = False
    protobuf: bool = False
    media_type: str = "application/json"
    replies: tuple[type[BaseModel], ...] = ()

    @property
    def summary(self) -> str:
        """The endpoint's own words."""
        return (self.endpoint.__doc__ or "").partition("\n")[0].rstrip(".")


def framework(routes: Sequence[Route], version: str, docs: bool) -> FastAPI:
    """A FastAPI application with all routes, HEAD wherever there is GET, and our errors."""
    about: dict[str, Any] = {
        "title": "Avikam",
        "version": version,
        "summary": "Inference for Avikam1, a bilingual French/English language model.",
        "redirect_slashes": False,
    }
    if docs:
        app = FastAPIOffline(docs_url="/docs", redoc_url=None, **about)
        app.openapi = lambda: document(app, routes)  # type: ignore[method-assign]
        _add_head(app)
    else:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, **about)
    for route in routes:
        _add(app, route)
    _add_errors(app, routes)
    return app


def _add(app: FastAPI, route: Route) -> None:
    endpoint = _labelled(route)
    app.add_api_route(
        route.path,
        endpoint,
        methods=[route.method],
        summary=route.summary,
        openapi_extra=operation(route),
    )
    if route.method == "GET":
        app.add_api_route(route.path, endpoint, methods=["HEAD"], include_in_schema=False)


def _add_head(app: FastAPI) -> None:
    """HEAD for the documentation, which has routes of its own."""
    for route in app.routes:
        if isinstance(route, StarletteRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")


def _labelled(route: Route) -> Endpoint:
    """The endpoint, noting which route it is for the metrics."""

    async def labelled(request: Request) -> Response:
        call_of(request.scope).route = route.path
        return await route.endpoint(request)

    return labelled


def _add_errors(app: FastAPI, routes: Sequence[Route]) -> None:
    """No reply in the framework's own words."""

    async def api_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, ApiError):
            raise error
        return error_response(error, request.scope["path"], call_of(request.scope).id)

    async def http_error(request: Request, error: Exception) -> Response:
        path, method = request.scope["path"], request.scope["method"]
        call_id = call_of(request.scope).id
        if isinstance(error, HTTPException) and error.status_code == 405:
            allowed = allowed_methods(routes, path) or _allowed_by(error)
            return error_response(method_not_allowed(method, path, allowed), path, call_id)
        return error_response(not_found(path, {route.path for route in routes}), path, call_id)

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)


def _allowed_by(error: HTTPException) -> set[str]:
    """Methods of a route that is not in the table: the documentation's."""
    return set(((error.headers or {}).get("Allow") or "GET").split(", "))


def allowed_methods(routes: Sequence[Route], path: str) -> set[str]:
    """Methods that some route with this path takes; HEAD wherever there is GET."""
    methods = {route.method for route in routes_at(routes, path)}
    return methods | ({"HEAD"} if "GET" in methods else set())


def routes_at(routes: Sequence[Route], path: str) -> list[Route]:
    """Routes with this path, of whatever method."""
    return [route for route in routes if _matches(route.path, path)]


def _matches(declared: str, path: str) -> bool:
    fixed, parameter, _ = declared.partition("{")
    return path.startswith(fixed) and len(path) > len(fixed) if parameter else path == declared
