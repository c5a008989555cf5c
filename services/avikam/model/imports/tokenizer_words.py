"""End tokens, begin token and template of a source, gathered from every file that names one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from avikam.model.sources.source import Source, SourceError
from avikam.model.vocabulary.words import TokenizerWords

# Tokens that end a turn in known templates; one counts where it is special and the template
# writes it.
_TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>", "<|eom_id|>", "<|endoftext|>")
_NAMED = ("bos_token", "eos_token", "pad_token", "unk_token", "eot_token", "eom_token")


def words_of(source: Source) -> TokenizerWords:
    """The words that our own folder keeps. Raises :class:`SourceError` where no end is named."""
    told = source.tokenizer.config
    special = _special_tokens(source.tokenizer.data)
    template = _template(told)
    values = {name: _content(told.get(name)) for name in _NAMED if told.get(name)}
    ends = set(_ids(source.config.get("eos_token_id"), "config.json"))
    ends |= set(_ids(source.generation.get("eos_token_id"), "generation_config.json"))
    for name in ("eos_token", "eot_token", "eom_token"):
        if values.get(name) in special:
            ends.add(special[values[name]])
    ends |= {special[end] for end in _TURN_ENDS if end in special and end in template}
    if not ends:
        raise SourceError("no file names a token that ends an answer (eos_token_id)")
    adds = told.get("add_bos_token")
    return TokenizerWords(
        end_ids=tuple(sorted(ends)),
        adds_begin=adds if isinstance(adds, bool) else None,
        chat_template=template,
        values=values,
    )


def _special_tokens(data: bytes) -> dict[str, int]:
    try:
        document = json.loads(data)
        added = document.get("added_tokens") or []
        return {token["content"]: int(token["id"]) for token in added if token.get("special")}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"tokenizer.json cannot be read: {type(error).__name__}") from error


def _content(token: Any) -> str:
    """A token's text; old files write an object around it."""
    if isinstance(token, Mapping):
        token = token.get("content")
    if not isinstance(token, str):
        raise SourceError(f"tokenizer_config.json: {str(token)[:40]!r} is no token")
    return token


def _ids(value: Any, file: str) -> Iterable[int]:
    for token in value if isinstance(value, list) else [value]:
        if token is None:
            continue
        if isinstance(token, bool) or not isinstance(token, int) or token < 0:
            raise SourceError(f"{file}: eos_token_id {str(token)[:40]!r} is no token id")
        yield token


def _template(told: Mapping[str, Any]) -> str:
    """The default one, where a file has several by name."""
    template = told.get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, Mapping)}
        template = named.get("default")
    if template is None:
        return ""
    if not isinstance(template, str):
        raise SourceError("tokenizer_config.json: chat_template is no text")
    return template
