"""Reading a foreign config.json: typed, bounded, and without a key left unread."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# What a configuration may say without changing a single logit.
_HARMLESS = frozenset(
    {
        "_attn_implementation_autoset", "_name_or_path", "architectures", "attention_dropout",
        "attn_implementation", "bos_token_id", "chunk_size_feed_forward", "dtype", "eos_token_id",
        "hidden_dropout", "id2label", "initializer_range", "is_llama_config", "label2id",
        "license", "model_type", "name", "output_attentions", "output_hidden_states",
        "pad_token_id", "pretraining_tp", "problem_type", "return_dict", "torch_dtype",
        "transformers.js_config", "transformers_version", "unk_token_id", "unsloth_fixed",
        "unsloth_version", "use_bfloat16", "use_cache",
    }
)  # fmt: skip
_OFF: tuple[Any, ...] = (None, False, 0, {}, [], "")


class FamilyError(ValueError):
    """A model that is not served; the message names what is not known about it."""


class Fields:
    """The keys of a configuration. Every reading marks its key; :meth:`finish` names the rest."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json") -> None:
        self._values = values
        self._where = where
        self._read: set[str] = set()

    def problem(self, key: str, need: str) -> FamilyError:
        """The refusal of one key's value."""
        return FamilyError(f"{self._where}: {key} is {_short(self._values.get(key))}, {need}")

    def null(self, key: str) -> bool:
        """Whether the key is there and says null, which is not the same as being absent."""
        self._read.add(key)
        return key in self._values and self._values[key] is None

    def get(self, key: str, default: Any = None) -> Any:
        """A value as it stands; an explicit null counts as absent."""
        self._read.add(key)
        value = self._values.get(key)
        return default if value is None else value

    def integer(self, key: str, most: int, default: int | None = None, least: int = 1) -> int:
        """A whole number within bounds; required where there is no default."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.problem(key, f"must be a whole number from {least} to {most}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.get(key, default)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or value <= 0:
            raise self.problem(key, "must be a number above 0")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.problem(key, "must be true or false")
        return value

    def only(self, key: str, *known: Any) -> Any:
        """One of the values that the family is written for; the first where the key is absent."""
        value = self.get(key, known[0])
        if value not in known:
            raise self.problem(key, f"only {', '.join(map(repr, known))} is served")
        return value

    def table(self, key: str) -> Fields | None:
        """A nested object, read in the same way."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.problem(key, "must be an object")
        return Fields(value, f"{self._where}: {key}")

    def texts(self, key: str) -> list[str] | None:
        """A list of words."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.problem(key, "must be a list of words")
        return value

    def finish(self) -> None:
        """Refuse what nobody read and what is neither harmless nor off."""
        for key, value in self._values.items():
            if key in self._read or key in _HARMLESS or value in _OFF:
                continue
            raise FamilyError(
                f"{self._where}: {key}={_short(value)} is not known; it may change the model"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
