"""Decides once which route a request is for; everything behind it uses that decision.

    decoded path ─► slashes joined ─► route of path and method
                                      no such method            405; OPTIONS: what there is
                                      no such path, or one      404
                                      with control characters

The key's scope, the queue's shedding, the labels of metrics and the endpoint all come from the
:class:`Match`. No other part compares paths, so none can take a request for another one than the
endpoint does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avikam.gateway.access.keys import Access
from avikam.gateway.doors.http.not_found import method_not_allowed, not_found
from avikam.gateway.doors.http.routes import Route
from avikam.protocol.errors import ApiError

_KEY = "avikam.match"
# OPTIONS * asks about the server as a whole (RFC 9110 section 9.3.7).
_SERVER = "*"
_SLASHES = re.compile("/{2,}")
# The C0 and C1 sets and DEL. No path of ours has one, and parsers disagree about them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# What a key needs to be told that a path does not exist.
_UNKNOWN: Access = "infer"
_STRICTEST: tuple[Access, ...] = ("admin", "metrics", "infer", "open")


@dataclass(frozen=True, slots=True)
class Match:
    """What a request is for.

    ``path`` is the one that was looked for; ``route`` is None where no route takes path and method,
    ``methods`` are those that the path takes; ``parameters`` are the variable parts of the path.
    """

    path: str
    access: Access
    route: Route | None = None
    methods: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def probe(self) -> bool:
        """Whether the route is open to everybody at any time."""
        return self.route is not None and self.route.probe


class Router:
    """Finds routes. Raises ValueError for two routes of one method and path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._fixed: dict[str, dict[str, Route]] = {}
        self._below: dict[str, dict[str, Route]] = {}
        for route in routes:
            start, variable, _ = route.path.partition("{")
            table = self._below if variable else self._fixed
            methods = table.setdefault(start, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} is declared twice")
            methods[route.method] = route
        self._paths = {route.path for route in routes}
        self._methods = _with_implied({route.method: route for route in routes})

    def match(self, method: str, path: str) -> Match:
        """The route of a decoded path."""
        if _CONTROL.search(path):
            return Match(path, _UNKNOWN)
        if path == _SERVER and method == "OPTIONS":
            return Match(path, "open", methods=self._methods)
        if "//" in path or (path.endswith("/") and path != "/"):
            # Clients join base addresses carelessly: /v1//models, /v1/models/.
            path = _SLASHES.sub("/", path).rstrip("/") or "/"
        routes = self._fixed.get(path)
        rest = ""
        if routes is None:
            routes, rest = self._find_below(path)
        route = routes.get("GET" if method == "HEAD" else method)
        if route is not None:
            return Match(path, route.access, route, parameters=_parameters(route, rest))
        methods = _with_implied(routes)
        if method == "OPTIONS" and methods:
            return Match(path, "open", methods=methods)
        return Match(path, _strictest(routes), methods=methods)

    def refusal(self, match: Match, method: str) -> ApiError:
        """Why a match without a route has none: 405, or 404 with near paths."""
        if match.methods:
            return method_not_allowed(method, match.path, match.methods)
        return not_found(match.path, self._paths)

    def _find_below(self, path: str) -> tuple[dict[str, Route], str]:
        """The routes whose fixed part begins the path, and what follows it."""
        for start, routes in self._below.items():
            if path.startswith(start) and len(path) > len(start):
                return routes, path[len(start) :]
        return {}, ""


def put_match(scope: MutableMapping[str, Any], match: Match) -> None:
    """Attach a match to its request; endpoints find its parameters where Starlette has them."""
    scope[_KEY] = match
    scope["path"] = match.path
    scope["path_params"] = dict(match.parameters)


def match_of(scope: Any) -> Match:
    """The match of a request."""
    match: Match = scope[_KEY]
    return match


def _parameters(route: Route, rest: str) -> dict[str, str]:
    name = route.path.partition("{")[2].partition("}")[0].partition(":")[0]
    return {name: rest} if name else {}


def _with_implied(routes: dict[str, Route]) -> tuple[str, ...]:
    """The methods of a path, HEAD wherever there is GET; none for no route."""
    if not routes:
        return ()
    implied = {"HEAD"} if "GET" in routes else set()
    return tuple(sorted(implied | routes.keys()))


def _strictest(routes: dict[str, Route]) -> Access:
    """What a key needs to hear that a path does not take a method: as much as for any it takes."""
    needed = {route.access for route in routes.values()}
    return next((access for access in _STRICTEST if access in needed), _UNKNOWN)
