"""SentencePiece vocabularies rewritten as ``tokenizer.json``, so that one library reads all.

A piece's score is its place in the order of merges: SentencePiece joins the neighbours whose joint
piece scores best, and so does a BPE whose merges are sorted by that score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avikam.model.sources.source import SourceError

# SentencePiece's types of a piece; GGUF numbers them alike.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_SPACE = "\u2581"


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of a vocabulary."""

    text: str
    score: float
    kind: int = NORMAL


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds the pieces: a space put in front of a text, the tokens at its ends."""

    space_in_front: bool = True
    first: str = ""
    last: str = ""


def tokenizer_json_of_pieces(data: bytes, words: Mapping[str, Any]) -> bytes:
    """``tokenizer.model`` as ``tokenizer.json``; ``words`` is the tokenizer_config beside it."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise SourceError("tokenizer.model is not a SentencePiece model") from error
    trainer, normal = proto.trainer_spec, proto.normalizer_spec
    if normal.remove_extra_whitespaces or normal.precompiled_charsmap:
        raise SourceError(
            f"tokenizer.model normalises texts by {normal.name or 'rules of its own'}; "
            "a tokenizer.json is needed beside it"
        )
    if trainer.model_type != trainer.BPE:
        raise SourceError("tokenizer.model is no BPE; a tokenizer.json is needed beside it")
    pieces = [Piece(p.piece, p.score, p.type) for p in proto.pieces]
    first = pieces[trainer.bos_id].text if words.get("add_bos_token", True) else ""
    last = pieces[trainer.eos_id].text if words.get("add_eos_token", False) else ""
    return bpe_json(pieces, Frame(normal.add_dummy_prefix, first, last))


def bpe_json(pieces: Sequence[Piece], frame: Frame) -> bytes:
    """The ``tokenizer.json`` of SentencePiece-BPE pieces."""
    vocabulary = {piece.text: index for index, piece in enumerate(pieces)}
    if len(vocabulary) != len(pieces):
        raise SourceError("the vocabulary has a piece twice")
    unknown = next((p.text for p in pieces if p.kind == UNKNOWN), None)
    space = [{"type": "Prepend", "prepend": _SPACE}] if frame.space_in_front else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    decoders = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        *(strip if frame.space_in_front else []),
    ]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(index, piece)
            for index, piece in enumerate(pieces)
            if piece.kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ],
        "normalizer": {"type": "Sequence", "normalizers": [*space, spaces]},
        "pre_tokenizer": None,
        "post_processor": framing(frame.first, frame.last, vocabulary),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(piece.kind == BYTE for piece in pieces),
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": _merges(pieces, vocabulary),
        },
    }
    return json.dumps(document, ensure_ascii=False).encode()


def framing(first: str, last: str, vocabulary: Mapping[str, int]) -> dict[str, Any] | None:
    """A post-processor that puts ``first`` before and ``last`` behind a text; either may be ''."""
    ends = [token for token in (first, last) if token]
    if not ends:
        return None
    before = [{"SpecialToken": {"id": first, "type_id": 0}}] if first else []
    behind = [{"SpecialToken": {"id": last, "type_id": 0}}] if last else []
    return {
        "type": "TemplateProcessing",
        "single": [*before, {"Sequence": {"id": "A", "type_id": 0}}, *behind],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            token: {"id": token, "ids": [vocabulary[token]], "tokens": [token]} for token in ends
        },
    }


def _added(index: int, piece: Piece) -> dict[str, Any]:
    return {
        "id": index,
        "content": piece.text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": piece.kind != USER_DEFINED,
    }


def _merges(pieces: Sequence[Piece], vocabulary: Mapping[str, int]) -> list[list[str]]:
    """Every way to put a piece together from two others, best pieces first."""
    found: list[tuple[float, int, int, str, str]] = []
    for piece in pieces:
        if piece.kind not in (NORMAL, USER_DEFINED):
            continue
        for cut in range(1, len(piece.text)):
            left, right = piece.text[:cut], piece.text[cut:]
            if left in vocabulary and right in vocabulary:
                found.append((-piece.score, vocabulary[left], vocabulary[right], left, right))
    return [[left, right] for *_, left, right in sorted(found)]
