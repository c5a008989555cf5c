"""Logprobs in OpenAI's two shapes: parallel lists for completions, one list of tokens for chat.

What is told of a token is JSON at once: as objects it would take seven times the room until the
whole reply is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from avikam.v1 import generation_pb2 as pb


def token_text(token: pb.TokenLogprob) -> str:
    """The token's text; ``bytes:\\xe2\\x80`` where it is only part of a character."""
    data = token.token_bytes
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class CompletionLogprobs:
    """Builds ``choices[].logprobs`` of completions, token after token.

    A first prompt token has no logprob: both its entries are null.
    """

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset

    def shape(
        self, entries: Iterable[pb.TokenLogprobs], first: str | None = None
    ) -> dict[str, Any]:
        """The lists for some tokens; ``first`` is the text of a first prompt token before them."""
        lists: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        if first is not None:
            self._append(lists, first, None, None)
        for entry in entries:
            top = orjson.Fragment(orjson.dumps(tops(entry)))
            self._append(lists, token_text(entry.chosen), entry.chosen.logprob, top)
        return lists

    def _append(
        self,
        lists: dict[str, list[Any]],
        text: str,
        logprob: float | None,
        top: orjson.Fragment | None,
    ) -> None:
        lists["tokens"].append(text)
        lists["token_logprobs"].append(logprob)
        lists["top_logprobs"].append(top)
        lists["text_offset"].append(self._offset)
        self._offset += len(text)


def tops(entry: pb.TokenLogprobs) -> dict[str, float]:
    """Alternatives by text, best first; the chosen token is always among them.

    Different tokens may have the same text: the likelier one stands for it.
    """
    found: dict[str, float] = {}
    for token in [*entry.top, entry.chosen]:
        found.setdefault(token_text(token), token.logprob)
    return found


def chat_logprobs(entries: Sequence[pb.TokenLogprobs]) -> dict[str, Any]:
    """``choices[].logprobs`` of chat."""
    return {
        "content": [orjson.Fragment(orjson.dumps(_chat_entry(entry))) for entry in entries],
        "refusal": None,
    }


def _chat_entry(entry: pb.TokenLogprobs) -> dict[str, Any]:
    return _chat_token(entry.chosen) | {"top_logprobs": [_chat_token(t) for t in entry.top]}


def _chat_token(token: pb.TokenLogprob) -> dict[str, Any]:
    return {
        "token": token_text(token),
        "logprob": token.logprob,
        "bytes": list(token.token_bytes),
    }
