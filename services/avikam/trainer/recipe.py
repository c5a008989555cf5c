"""Settings of a command as a YAML file: one typed class per command, unknown keys refused.

A recipe class is a frozen dataclass that checks the types of its values when it is built, so a
recipe from a file and one written in Python obey the same rules.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

T = TypeVar("T")
_SECTIONS = {
    "CorpusRecipe": "corpus",
    "PretrainConfig": "pretrain",
    "ExportRecipe": "export",
    "FinetuneRecipe": "finetune",
    "EvalRecipe": "eval",
}
"""The section of a file for every command that a recipe class takes."""


class RecipeError(ValueError):
    """A recipe file that describes no run; the message names the key and the way out."""


@dataclass_transform(frozen_default=True)
def recipe(cls: type[T]) -> type[T]:
    """Make a frozen dataclass whose field types are enforced."""
    checked = checked_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))(cls)
    return cast("type[T]", checked)


def load_recipe(
    cls: type[T], path: Path | None, sets: Sequence[str] | None = None, **changes: Any
) -> T:
    """``cls`` from a YAML mapping, then ``key=value`` of ``sets``, then ``changes`` not None.

    A key of ``sets`` may name a value inside a mapping: ``rates.matrices=0.01``. Of a file with a
    section for every command (``recipes/toy.yaml``) the class takes its own.
    """
    values = _section(cls, _read(path)) if path else {}
    for text in sets or ():
        _set(values, text)
    values |= {name: value for name, value in changes.items() if value is not None}
    try:
        return cls(**values)
    except ValidationError as error:
        raise RecipeError(_explain(cls, path, error)) from error


def _section(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """What of a file's values belongs to ``cls``: all of them, or its command's section."""
    name = _SECTIONS.get(cls.__name__, "")
    section = values.get(name)
    if name in cls.__dataclass_fields__ or not isinstance(section, dict):
        return values
    return {str(key): value for key, value in section.items()}


def _set(values: dict[str, Any], text: str) -> None:
    """Put ``a.b=value`` into nested mappings; the value is read as YAML."""
    key, equals, written = text.partition("=")
    if not key or not equals:
        raise RecipeError(f"--set {text!r} is no setting; write it as key=value")
    *path, last = key.strip().split(".")
    place = values
    for name in path:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {key}: {name} is {inner!r}, which has no keys inside")
        place = inner
    try:
        place[last] = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {key}: {written!r} is no YAML value: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(
            f"recipe {path} holds a {type(values).__name__}, needs `key: value` lines"
        )
    return {str(key): value for key, value in values.items()}


def _explain(cls: type[Any], path: Path | None, error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(map(str, problem["loc"]))
    message = f"{path or 'recipe'}: {key}: {problem['msg']} (got {problem['input']!r})"
    if problem["type"] == "unexpected_keyword_argument":
        near = difflib.get_close_matches(key, cls.__dataclass_fields__, n=1)
        message = f"{path or 'recipe'}: unknown key {key!r}"
        message += f"; did you mean {near[0]!r}?" if near else ""
    return message
