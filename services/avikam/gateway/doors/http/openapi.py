"""The OpenAPI document: FastAPI's skeleton, with the bodies and replies that endpoints read raw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from avikam.gateway.doors.http.errors import ANTHROPIC_PREFIX
from avikam.gateway.doors.http.routes import Route

_SCHEMAS = "#/components/schemas/"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ANTHROPIC_ERROR = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "request_id": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}


def operation(route: Route) -> dict[str, Any]:
    """What FastAPI cannot see of a route that reads its body itself."""
    content: dict[str, Any] = {route.media_type: {"schema": _one_of(route.replies)}}
    if route.stream:
        content["text/event-stream"] = {"schema": _event(route)}
    if route.protobuf:
        content["application/x-protobuf"] = {"schema": {"type": "string", "format": "binary"}}
    reply = {"description": route.summary, "content": content}
    anthropic = route.path.startswith(ANTHROPIC_PREFIX)
    envelope = "AnthropicError" if anthropic else "Error"
    error = {
        "description": f"An error, in {'Anthropic' if anthropic else 'OpenAI'}'s envelope.",
        "content": {"application/json": {"schema": {"$ref": _SCHEMAS + envelope}}},
    }
    extra: dict[str, Any] = {"responses": {"200": reply, "4XX": error, "5XX": error}}
    if parameters := _path_parameters(route.path):
        extra["parameters"] = parameters
    if route.bodies:
        extra["requestBody"] = {"required": True, "content": _request_content(route)}
    return extra


def _path_parameters(path: str) -> list[dict[str, Any]]:
    """The parts of a path that are the client's: ``{model:path}`` is one that is named model."""
    text = {"type": "string", "minLength": 1}
    names = re.findall(r"{(\w+)(?::\w+)?}", path)
    return [{"name": name, "in": "path", "required": True, "schema": text} for name in names]


def _event(route: Route) -> dict[str, Any]:
    """One event of the stream. Its data is JSON; OpenAI's streams end with the text ``[DONE]``."""
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"enum": list(route.events)},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    }


def _request_content(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _one_of(route.bodies)}}
    if route.protobuf:
        content["application/x-protobuf"] = {"schema": {"type": "string", "format": "binary"}}
    return content


def _one_of(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """A schema that any of the models fits; of no model, anything."""
    references = [{"$ref": _SCHEMAS + model.__name__} for model in models]
    if len(references) < 2:
        return references[0] if references else {}
    return {"anyOf": references}


def _schemas(models: set[type[BaseModel]], mode: Literal["validation", "serialization"]) -> Any:
    ordered = sorted(models, key=lambda model: model.__name__)
    pairs: Any = [(model, mode) for model in ordered]
    return models_json_schema(pairs, ref_template=_SCHEMAS + "{model}")[1].get("$defs", {})


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document of an API, but for where it is served."""
    schema = get_openapi(
        title="Avikam",
        version=version,
        summary="Inference for Avikam1, a bilingual French/English language model.",
        routes=[_described(route) for route in routes],
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas |= _schemas({body for route in routes for body in route.bodies}, "validation")
    schemas |= _schemas({reply for route in routes for reply in route.replies}, "serialization")
    schemas |= {"Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR}
    return schema


def _described(route: Route) -> APIRoute:
    """The route as FastAPI writes it down; it serves none of them."""
    return APIRoute(
        route.path,
        route.endpoint,
        methods=[route.method],
        summary=route.summary,
        openapi_extra=operation(route),
    )
