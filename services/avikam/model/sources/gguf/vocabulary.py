"""The vocabulary inside a GGUF file, rebuilt as ``tokenizer.json``.

tokenizer.ggml.model   what it is
gpt2                   byte-level BPE; ``tokenizer.ggml.pre`` names the expression that cuts texts
llama                  SentencePiece BPE with scores
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from avikam.model.sources.sentencepiece_file import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    Frame,
    Piece,
    bpe_json,
    framing,
)
from avikam.model.sources.source import SourceError, TokenizerFiles

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}


def _by_expression(expression: str) -> list[dict[str, Any]]:
    split = {
        "type": "Split",
        "pattern": {"Regex": expression},
        "behavior": "Isolated",
        "invert": False,
    }
    return [split, _GPT2 | {"use_regex": False}]


# tokenizer.ggml.pre: (how a text is cut, whether whole words are looked up before merges, NFC)
_CUTS: dict[str, tuple[list[dict[str, Any]], bool, bool]] = {
    "gpt-2": ([_GPT2], False, False),
    "smollm": ([_DIGITS, _GPT2], False, False),
    "llama-bpe": (_by_expression(_LLAMA3), True, False),
    "llama3": (_by_expression(_LLAMA3), True, False),
    "qwen2": (_by_expression(_QWEN2), False, True),
    "tekken": (_by_expression(_TEKKEN), True, False),
}


def tokenizer_of(metadata: Mapping[str, Any]) -> TokenizerFiles:
    """The file's own vocabulary, and the words of a ``tokenizer_config.json`` for it."""
    kind = metadata.get("tokenizer.ggml.model")
    pieces = _pieces(metadata)
    words = _words(metadata, pieces)
    if kind == "gpt2":
        return TokenizerFiles(_byte_level(metadata, pieces, words), words)
    if kind == "llama":
        frame = Frame(
            bool(metadata.get("tokenizer.ggml.add_space_prefix", True)),
            words["bos_token"] if words.get("add_bos_token", True) else "",
            words["eos_token"] if words.get("add_eos_token", False) else "",
        )
        return TokenizerFiles(bpe_json(pieces, frame), words)
    raise SourceError(f"the tokenizer model {str(kind)[:40]!r} is not read; gpt2 and llama are")


def _pieces(metadata: Mapping[str, Any]) -> list[Piece]:
    texts = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(texts, list):
        raise SourceError("tokenizer.ggml.tokens is missing: there is no vocabulary in the file")
    kinds = metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(texts))
    scores = metadata.get("tokenizer.ggml.scores", [0.0] * len(texts))
    if len(kinds) != len(texts) or len(scores) != len(texts):
        raise SourceError("tokens, scores and types of the vocabulary differ in number")
    return [Piece(t, float(s), int(k)) for t, s, k in zip(texts, scores, kinds, strict=True)]


def _words(metadata: Mapping[str, Any], pieces: list[Piece]) -> dict[str, Any]:
    """Special tokens by name, and the chat template."""
    words: dict[str, Any] = {}
    ids = {"bos_token": "bos", "eos_token": "eos", "eot_token": "eot", "eom_token": "eom"}
    for word, name in ids.items():
        number = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if number is None:
            continue
        if not isinstance(number, int) or not 0 <= number < len(pieces):
            raise SourceError(f"tokenizer.ggml.{name}_token_id {number} is outside the vocabulary")
        words[word] = pieces[number].text
    for flag in ("add_bos_token", "add_eos_token"):
        value = metadata.get(f"tokenizer.ggml.{flag}")
        if isinstance(value, bool):
            words[flag] = value
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        words["chat_template"] = template
    words.setdefault("bos_token", "")
    words.setdefault("eos_token", "")
    return words


def _byte_level(
    metadata: Mapping[str, Any], pieces: list[Piece], words: Mapping[str, Any]
) -> bytes:
    name = metadata.get("tokenizer.ggml.pre")
    if name not in _CUTS:
        raise SourceError(
            f"the pre-tokenizer {str(name)[:40]!r} is not known; {', '.join(_CUTS)} are. "
            "Take the model's Hugging Face folder instead"
        )
    cuts, whole_words, compose = _CUTS[name]
    merges = metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list):
        raise SourceError("tokenizer.ggml.merges is missing")
    vocabulary = {piece.text: index for index, piece in enumerate(pieces)}
    if len(vocabulary) != len(pieces):
        raise SourceError("the vocabulary has a piece twice")
    first = words["bos_token"] if words.get("add_bos_token", name == "llama-bpe") else ""
    last = words["eos_token"] if words.get("add_eos_token", False) else ""
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(i, p) for i, p in enumerate(pieces) if p.kind in _ADDED],
        "normalizer": {"type": "NFC"} if compose else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts},
        "post_processor": framing(first, last, vocabulary),
        "decoder": _GPT2,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": whole_words,
            "vocab": vocabulary,
            "merges": [merge.split(" ", 1) for merge in merges],
        },
    }
    return json.dumps(document, ensure_ascii=False).encode()


_ADDED = (UNKNOWN, CONTROL, USER_DEFINED)


def _added(index: int, piece: Piece) -> dict[str, Any]:
    return {
        "id": index,
        "content": piece.text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": piece.kind == CONTROL,
    }
