"""Command-line flags made from settings classes, so that a setting is described once.

A decorated command receives the flags that were given as one mapping, ``flags``; what they mean
and whether they are valid is decided by :mod:`avikam.common.settings`, in its words.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from avikam.cli.failure import fail
from avikam.common.settings import S, Settings, SettingsError, flag_name, load

ConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML file with gateway: and worker: settings.")
]
Lifeline = Annotated[
    bool, typer.Option("--lifeline", hidden=True, help="Stop when standard input closes.")
]


def settings_flags(
    *classes: type[Settings], omit: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one flag per field of ``classes``; a name they share appears once."""
    fields = {name: field for cls in classes for name, field in cls.model_fields.items()}
    shown = {name: field for name, field in fields.items() if name not in omit}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()

        @functools.wraps(command)
        def with_flags(**given: Any) -> None:
            flags = {name: given.pop(name) for name in shown}
            command(flags={k: v for k, v in flags.items() if v is not None}, **given)

        parameters = [parameter for parameter in own if parameter.name != "flags"]
        parameters += [_parameter(name, field) for name, field in shown.items()]
        with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return with_flags

    return decorate


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    if field.annotation is bool:
        option = typer.Option(f"{flag_name(name)}/--no-{flag_name(name)[2:]}", help=describe(field))
        annotation: Any = Annotated[bool | None, option]
    else:
        option = typer.Option(flag_name(name), metavar=metavar(name, field), help=describe(field))
        annotation = Annotated[str | None, option]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def describe(field: FieldInfo) -> str:
    """The field's description, with its default where that is a plain value."""
    if field.default_factory is not None:
        return field.description or ""
    return f"{field.description}  [default: {default_text(field.default)}]"


def default_text(value: Any) -> str:
    """A default as a user would write it."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) or "none" if isinstance(value, tuple) else str(value)


def metavar(name: str, field: FieldInfo) -> str:
    """What stands after the flag: the choices, or the kind of value."""
    if get_origin(field.annotation) is Literal:
        return "|".join(str(choice) for choice in get_args(field.annotation))
    if name.endswith("_seconds"):
        return "SECONDS"
    return next((word for kind, word in _METAVARS.items() if kind in _kinds(field)), "TEXT")


_METAVARS: dict[type, str] = {int: "N", float: "NUMBER", Path: "PATH", tuple: "LIST"}


def _kinds(field: FieldInfo) -> set[Any]:
    """The plain types behind an annotation: int for ``Annotated[int, ...] | None``."""
    waiting, found = [field.annotation], set()
    while waiting:
        kind = waiting.pop()
        origin = get_origin(kind)
        if origin in (Union, UnionType):
            waiting += get_args(kind)
        elif origin is Annotated:
            waiting.append(get_args(kind)[0])
        else:
            found.add(origin or kind)
    return found


def load_or_fail(
    cls: type[S], section: str, config: Path | None, flags: Mapping[str, Any] | None = None
) -> S:
    """Settings, or one line per problem and exit status 2."""
    try:
        return load(cls, section, config, flags)
    except SettingsError as error:
        fail(*error.problems)
