"""A conversation as the model's own chat template writes it, with nothing in it that a user forged.

A template writes control tokens as text, so a user could write them too. While the template runs,
every special token inside what was said is a stand-in, a character that nobody uses; afterwards
control tokens are only those that the template wrote, and stand-ins are text again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError, TemplateSyntaxError

from avikam.model.vocabulary.sandbox import Sandbox

_TEMPLATE_CHARACTERS = 512 * 1024
_FIRST_STAND_IN, _LAST_STAND_IN = 0xF0000, 0xFFFFD  # a plane for private use


class TemplateRefusalError(ValueError):
    """The template does not take this conversation; the message has its own words."""


@dataclass(frozen=True, slots=True)
class Written:
    """A conversation as text. ``stand_ins`` maps characters of it to what a user wrote there."""

    text: str
    stand_ins: Mapping[str, str]


class ChatTemplate:
    """One template, compiled. Safe for threads."""

    def __init__(self, source: str, specials: Iterable[str], values: Mapping[str, str]) -> None:
        if len(source) > _TEMPLATE_CHARACTERS:
            raise ValueError(f"the chat template has {len(source)} characters")
        self.source = source
        self._values = dict(values)
        self._sandbox = Sandbox()
        try:
            self._template = self._sandbox.from_string(source)
        except (TemplateSyntaxError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"the chat template is not Jinja: {error}") from error
        self._specials = pattern_of(specials)

    def write(self, messages: Sequence[Mapping[str, Any]], **more: Any) -> Written:
        """The conversation up to where the assistant answers.

        Raises :class:`TemplateRefusalError`, also for a template that takes too long.
        """
        hidden = _Hidden(self._specials, (messages, more))
        values = {
            "messages": hidden.hide(messages),
            "add_generation_prompt": True,
            **self._values,
            **{name: hidden.hide(value) for name, value in more.items()},
        }
        try:
            text = self._sandbox.render_within(self._template, values)
        except TemplateError as error:
            raise TemplateRefusalError(
                f"the model's chat template refuses these messages: {_line(error)}"
            ) from error
        return Written(text, hidden.meant)


class _Hidden:
    """Swaps special tokens in values for stand-ins, dictionaries' keys included."""

    def __init__(self, specials: re.Pattern[str] | None, values: Any) -> None:
        self._specials = specials
        self._used = {c for text in _texts(values) for c in text if ord(c) >= _FIRST_STAND_IN}
        self._next = _FIRST_STAND_IN
        self._by_special: dict[str, str] = {}

    @property
    def meant(self) -> dict[str, str]:
        """Stand-in to what it stands for."""
        return {stand_in: special for special, stand_in in self._by_special.items()}

    def hide(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._specials.sub(self._stand_in, value) if self._specials else value
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide(item) for item in value]
        return value

    def _stand_in(self, match: re.Match[str]) -> str:
        return self._by_special.setdefault(match[0], self._fresh())

    def _fresh(self) -> str:
        while chr(self._next) in self._used:
            self._next += 1
        if self._next > _LAST_STAND_IN:
            raise TemplateRefusalError("the messages use every character of a private plane")
        self._next += 1
        return chr(self._next - 1)


def pattern_of(specials: Iterable[str]) -> re.Pattern[str] | None:
    """An expression that finds any special token, the longest first; none where there are none."""
    longest_first = sorted(filter(None, specials), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _line(error: TemplateError) -> str:
    return " ".join(str(error.message or type(error).__name__).split())[:300]
