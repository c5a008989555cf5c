"""From a JSON body to a checked model: strict types, exact errors, nothing silently dropped.

not JSON, too deep        400 invalid_json        a key twice       400 duplicate_key
not an object             400 invalid_json_root   a wrong type      400 invalid_value, param
not Unicode               400 invalid_unicode     unknown field     400 unknown_parameter
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

import jiter
import orjson
from pydantic import BaseModel, FailFast, ValidationError
from pydantic.fields import FieldInfo

from avikam.protocol.errors import ApiError, invalid

M = TypeVar("M", bound=BaseModel)

_SHOWN = 64
# Values that are checked for their types: each wrong one becomes a kilobyte of report.
_MOST_TYPED = 20_000
# jiter's words for escapes that name half a character.
_LONE_SURROGATE = "hex escape"


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``; raises a 400 that says what is wrong with it."""
    # Some editors and Windows' tools put a mark in front of UTF-8; it is no part of the text.
    body = body.removeprefix(BOM_UTF8)
    if not body:
        raise invalid("the body is empty; send a JSON object", None, "invalid_json_root")
    _check_unicode(body)
    try:
        data = jiter.from_json(body, catch_duplicate_keys=True, allow_inf_nan=False)
    except ValueError as error:
        raise _not_json(str(error)) from None
    if not isinstance(data, dict):
        raise invalid("the body must be a JSON object", None, "invalid_json_root")
    return data


def _check_unicode(body: bytes) -> None:
    if b"\0" in body[:4]:
        raise invalid("the body is UTF-16 or UTF-32; send UTF-8", None, "invalid_unicode")
    if body.isascii():
        return
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"the body is not UTF-8 at byte {error.start}"
        raise invalid(message, None, "invalid_unicode") from None


def _not_json(reason: str) -> ApiError:
    # jiter's reasons name keys and places, and keys are the client's words.
    place = " at line" + reason.rpartition(" at line")[2] if " at line" in reason else ""
    if reason.startswith("Detected duplicate key"):
        return invalid(f"a key occurs twice{place}", None, "duplicate_key")
    if _LONE_SURROGATE in reason:
        return invalid(f"a \\u escape is half a character{place}", None, "invalid_unicode")
    what = "is nested too deeply" if "recursion" in reason else "is not valid JSON"
    return invalid(f"the body {what}{place}", None, "invalid_json")


def validate(model: type[M], data: Mapping[str, Any]) -> M:
    """``data`` as the model; raises its first problem as a 400 with ``param``."""
    _check_counts(model, data)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
    raise _problem(dict(problem), _names(_model_at(model, problem["loc"][:-1])))


def _check_counts(model: type[BaseModel], data: Mapping[str, Any]) -> None:
    """400 for more values than any request has, before each of them is looked at."""
    left = _MOST_TYPED - len(data)
    if left < 0:
        raise invalid(f"the body has {len(data)} fields, at most {_MOST_TYPED}", None)
    for name, value in data.items():
        if isinstance(value, list | dict) and not _is_free(model.model_fields.get(name)):
            left = _count(value, left)
        if left < 0:
            shown = name[:_SHOWN]
            raise invalid(f"{shown} has too many entries; send fewer", shown)


def _is_free(field: FieldInfo | None) -> bool:
    """Whether a field's values are not looked at, or only up to the first wrong one."""
    if field is None:
        return False
    return field.annotation is Any or any(isinstance(rule, FailFast) for rule in field.metadata)


def _count(value: Any, left: int) -> int:
    """What is left of a bound after all that is in ``value``; below 0 when it has more."""
    waiting = [value]
    while waiting and left >= 0:
        inner = waiting.pop()
        left -= len(inner)
        if left >= 0:
            values = inner.values() if isinstance(inner, dict) else inner
            waiting += [item for item in values if isinstance(item, list | dict)]
    return left


def json_text(value: object, param: str) -> str:
    """A part of a body as JSON again; 400 for a number that no engine reads."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise invalid(f"{param} has a number beyond 64 bits", param) from None


def _problem(problem: Mapping[str, Any], known: Collection[str]) -> ApiError:
    param = _path(problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            name = str(problem["loc"][-1])[:_SHOWN]
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
            return invalid(f"{name!r} is not a parameter; {hint}", name, "unknown_parameter")
        case "missing":
            return invalid(f"{param} is required", param, "missing_required_parameter")
        case _:
            message = str(problem["msg"]).removeprefix("Value error, ")
            return invalid(f"{param} is {_shown(problem['input'])}: {message}", param)


def _path(location: tuple[int | str, ...]) -> str:
    """``messages[0].content``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN]}" if text else part
    return text[:_SHOWN]


def _shown(value: object) -> str:
    """A short value as it came; of a long one only its type."""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number with too many digits"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"a {type(value).__name__}"


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The model of the object at this place in the body, where it has one."""
    for part in location:
        field = model.model_fields.get(str(part))
        inner = get_args(field.annotation) if field is not None else ()
        model = next((kind for kind in inner if _is_model(kind)), model)
    return model


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
