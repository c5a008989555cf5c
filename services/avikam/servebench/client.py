"""One streamed completion and the times of what came."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

_DATA = "data: "
_DONE = "[DONE]"


@dataclass(slots=True)
class Outcome:
    """What one request took, in seconds, and how many tokens it moved.

    ``itls`` are the gaps between the pieces of text that arrived; a piece may hold several tokens.
    """

    started: float
    ttft: float = 0.0
    latency: float = 0.0
    itls: list[float] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    error: str = ""

    @property
    def tpot(self) -> float:
        """Seconds per output token after the first; 0 for a single token."""
        later = self.output_tokens - 1
        return (self.latency - self.ttft) / later if later > 0 else 0.0


class CompletionClient:
    """Asks ``/v1/completions`` for streams."""

    def __init__(self, client: httpx.AsyncClient, model: str, max_tokens: int) -> None:
        self._client = client
        self._model = model
        self._max_tokens = max_tokens

    async def ask(self, prompt: str) -> Outcome:
        """Read a stream to its end; a failure is an outcome too."""
        outcome = Outcome(time.perf_counter())
        try:
            await self._read(prompt, outcome)
        except (httpx.HTTPError, ValueError) as error:
            outcome.error = f"{type(error).__name__}: {error}"
        outcome.latency = time.perf_counter() - outcome.started
        return outcome

    async def _read(self, prompt: str, outcome: Outcome) -> None:
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": self._max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with self._client.stream("POST", "/v1/completions", json=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
                raise ValueError(f"status {answer.status_code}: {answer.text[:200]}")
            last: float | None = None
            async for event in _events(answer):
                now = time.perf_counter()
                if any(choice.get("text") for choice in event.get("choices") or ()):
                    if last is None:
                        outcome.ttft = now - outcome.started
                    else:
                        outcome.itls.append(now - last)
                    last = now
                _note_usage(event.get("usage"), outcome)
        if last is None:
            raise ValueError("the stream held no text")


def _note_usage(usage: dict[str, int] | None, outcome: Outcome) -> None:
    if usage:
        outcome.input_tokens = usage["prompt_tokens"]
        outcome.output_tokens = usage["completion_tokens"]


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream, which must end as it promised."""
    async for line in answer.aiter_lines():
        if not line.startswith(_DATA):
            continue
        data = line.removeprefix(_DATA)
        if data == _DONE:
            return
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            raise ValueError(event["error"].get("message", "an error event"))
        yield event
    raise ValueError("the stream ended without [DONE]")
