"""Refuses the fields of a body that would change the answer and are not there.

The compatible routes let unknown fields pass, for clients send many; but a client that asks for
one of the fields in these tables and is not heard would take the answer for what it asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avikam.protocol.errors import invalid

# A field's name, and the values that ask for nothing. Null never asks for anything.
Table = Mapping[str, tuple[Any, ...]]


def refuse(data: Mapping[str, Any], table: Table, within: str = "") -> None:
    """400 for a field of ``table`` with a value that asks for something.

    ``within`` is where ``data`` is in the body, for the message: ``response_format.``
    """
    for name, value in data.items():
        if name in table and not asks_nothing(value, table[name]):
            path = within + name
            raise invalid(f"{path} is not supported here; leave it out", path, "unsupported")


def asks_nothing(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether ``value`` is null or one of ``neutral``; entries of an object that are null do not
    count, so ``{"effort": null}`` is ``{}``."""
    if value is None:
        return True
    if isinstance(value, dict):
        value = {name: inner for name, inner in value.items() if inner is not None}
    return any(_same(value, one) for one in neutral)


def _same(value: Any, other: Any) -> bool:
    """Equality that keeps true apart from 1, but not 1.0."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    return bool(value == other)
