"""Jinja for templates that strangers wrote: no way out, a time limit, a limit on sizes.

Jinja's own sandbox keeps a template away from Python. It does not keep it from running for ever or
from filling the memory, so every call, filter, operator and loop of a template passes here, where
the clock and the size of what it made are looked at.
"""

from __future__ import annotations

import datetime
import functools
import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateError, TemplateRuntimeError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

_SECONDS = 2.0
_CHARACTERS = 8 * 2**20  # of any text that a template makes
_NUMBER = 2**24  # widths, repetitions, powers
_ITEMS = 2**20
# What makes a text or a list as long as a number says.
_BUILDERS = frozenset(
    ("batch", "center", "do_batch", "do_center", "do_indent", "do_slice", "expandtabs", "indent",
     "ljust", "range", "rjust", "safe_range", "slice", "zfill")
)  # fmt: skip


class TemplateLimitError(TemplateRuntimeError):
    """A template took too long, or made something too large."""


class Deadlines(threading.local):
    """When the rendering of this thread must be over; :meth:`check` is cheap."""

    until = float("inf")

    def check(self) -> None:
        if time.monotonic() > self.until:
            raise TemplateLimitError(f"it takes longer than {_SECONDS:g} s")


class _Guards(NodeTransformer):
    """Puts a call that can be watched in the place of what Jinja compiles without one."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return nodes.Call(
            nodes.Name("_joined", "load"), node.nodes, [], None, None, lineno=node.lineno
        )

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if not node.recursive:
            node.iter = nodes.Call(
                nodes.Name("_watched", "load"), [node.iter], [], None, None, lineno=node.lineno
            )
        return node


class Sandbox(ImmutableSandboxedEnvironment):
    """What templates of Hugging Face checkpoints expect, watched."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        self.deadlines = Deadlines()
        self.filters = {name: self._guarded(call) for name, call in self.filters.items()}
        self.filters["tojson"] = self._guarded(_to_json)
        self.globals |= {
            "raise_exception": _raise,
            "strftime_now": _now,
            "_joined": self._joined,
            "_watched": self._watched,
        }

    def render_within(self, template: Any, values: dict[str, Any]) -> str:
        """The text of a template. Raises Jinja's ``TemplateError``, also where a limit is met."""
        self.deadlines.until = time.monotonic() + _SECONDS
        parts: list[str] = []
        size = 0
        try:
            for part in template.generate(values):
                size += len(part)
                if size > _CHARACTERS:
                    raise TemplateLimitError(f"its text is longer than {_CHARACTERS} characters")
                self.deadlines.check()
                parts.append(part)
        except (RecursionError, MemoryError, OverflowError) as error:
            raise TemplateLimitError(f"it went too far: {type(error).__name__}") from error
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise TemplateRuntimeError(f"{type(error).__name__}: {error}") from error
        finally:
            self.deadlines.until = float("inf")
        return "".join(parts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Guards().visit(super()._parse(source, name, filename))
        return tree

    def call(self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        self.deadlines.check()
        owner = getattr(__obj, "__self__", None)
        _check_arguments(getattr(__obj, "__name__", ""), owner, args, kwargs)
        return _sized(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.deadlines.check()
        _check_operands(operator, left, right)
        return _sized(super().call_binop(context, operator, left, right))

    def _guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.deadlines.check()
            _check_arguments(call.__name__, args[0] if args else None, args, kwargs)
            return _sized(call(*args, **kwargs))

        return guarded

    def _joined(self, *parts: Any) -> str:
        return str(_sized("".join(map(str, parts))))

    def _watched(self, items: Any) -> Iterable[Any]:
        for item in items:
            self.deadlines.check()
            yield item


def _check_arguments(name: str, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse numbers that ask for a huge text, and replacements that grow one."""
    for value in (*args, *kwargs.values()) if name in _BUILDERS else ():
        if isinstance(value, int) and abs(value) > _NUMBER:
            raise TemplateLimitError(f"{name} is asked for {value}")
    if name in ("replace", "do_replace", "join", "do_join", "format", "do_format"):
        texts = [value for value in (owner, *args) if isinstance(value, str)]
        sizes = sorted((len(text) for text in texts), reverse=True)
        items = max((len(v) for v in (owner, *args) if isinstance(v, list | tuple)), default=1)
        if len(sizes) > 1 and sizes[0] * max(sizes[1], 1) * items > 16 * _CHARACTERS:
            raise TemplateLimitError(f"{name} would make a text that is too long")


def _check_operands(operator: str, left: Any, right: Any) -> None:
    """``*`` and ``**`` with large numbers, and ``%`` whose format may name any width."""
    if operator in ("*", "**"):
        for value in (left, right):
            if isinstance(value, int) and abs(value) > _NUMBER:
                raise TemplateLimitError(f"{operator} with {value}")
        sizes = [len(v) if isinstance(v, str | list | tuple) else abs(v) for v in (left, right)
                 if isinstance(v, str | list | tuple | int)]  # fmt: skip
        repeats = any(isinstance(v, str | list | tuple) for v in (left, right))
        if (repeats and len(sizes) == 2 and sizes[0] * sizes[1] > _CHARACTERS) or (
            operator == "**" and isinstance(right, int) and abs(right) > 64
        ):
            raise TemplateLimitError(f"{operator} would make something too large")
    if operator == "%" and isinstance(left, str):
        raise TemplateLimitError("texts are not formatted by %")


def _sized(value: Any) -> Any:
    """The value, if it is not too large."""
    if isinstance(value, str) and len(value) > _CHARACTERS:
        raise TemplateLimitError(f"a text is longer than {_CHARACTERS} characters")
    if isinstance(value, list | tuple | dict | set) and len(value) > _ITEMS:
        raise TemplateLimitError(f"a list is longer than {_ITEMS} items")
    return value


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers has it: no HTML escapes, unlike Jinja's own."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().astimezone().strftime(form)
