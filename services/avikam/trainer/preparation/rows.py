"""One row of a corpus, whatever its form: a sentence pair, a text or a conversation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from avikam.trainer.preparation.cleaning import key_of

Kind = Literal["pair", "text", "chat"]


@dataclass(frozen=True, slots=True)
class Row:
    """``parts`` are (French, English) of a pair, one text, or the turns of a conversation.

    ``group`` names what must stay on one side of the split (a document, a dialogue); rows
    without one are split by their own content. ``roles`` belong to a conversation's parts.
    """

    kind: Kind
    parts: tuple[str, ...]
    language: str
    domain: str
    source: str = ""
    group: str = ""
    roles: tuple[str, ...] = ()

    def mapped(self, change: Callable[[str], str]) -> Row:
        """The row with every part changed."""
        return replace(self, parts=tuple(change(part) for part in self.parts))

    @property
    def key(self) -> str:
        """Equal for rows that are copies of one another."""
        return "\x1f".join((self.kind, *map(key_of, self.parts)))

    @property
    def split_key(self) -> str:
        """What decides the side of the split: the group, else the first part's content."""
        return self.group or key_of(self.parts[0])

    def to_json(self) -> str:
        """As one line of a file."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Row:
        """From such a line's values."""
        tuples = {"parts": tuple(values["parts"]), "roles": tuple(values["roles"])}
        return cls(**{**values, **tuples})


def digest(text: str) -> int:
    """A stable 64-bit hash."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
