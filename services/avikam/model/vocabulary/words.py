"""What is said about a tokenizer beside its file, in one small file of our own.

tokenizer_config.json   bos, ends, whether texts begin with bos, the chat template
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenizerWords:
    """``end_ids`` is the union of all that any file names. ``adds_begin`` none: as the file does.
    ``values`` are the special tokens that templates call by name, such as ``bos_token``."""

    end_ids: tuple[int, ...] = ()
    adds_begin: bool | None = None
    chat_template: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TokenizerWords:
        """Read what :meth:`to_json` wrote; ``ValueError`` or ``TypeError`` for anything else."""
        values: dict[str, Any] = json.loads(text)
        return cls(**(values | {"end_ids": tuple(values["end_ids"])}))
