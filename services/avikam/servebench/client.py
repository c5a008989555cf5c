"""One streamed completion and the times of what came."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from avikam.client import AsyncClient, AvikamError, Event


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

    def __init__(self, client: AsyncClient, model: str, max_tokens: int) -> None:
        self._client = client
        self._model = model
        self._max_tokens = max_tokens

    async def ask(self, prompt: str) -> Outcome:
        """Read a stream to its end; a failure is an outcome too."""
        outcome = Outcome(time.perf_counter())
        try:
            await self._read(prompt, outcome)
        except AvikamError as error:
            status = f"status {error.status}: " if error.status else ""
            outcome.error = f"{status}{error.message}"
        outcome.latency = time.perf_counter() - outcome.started
        return outcome

    async def _read(self, prompt: str, outcome: Outcome) -> None:
        body = {"model": self._model, "prompt": prompt, "max_tokens": self._max_tokens}
        last: float | None = None
        async for event in self._client.events("/v1/completions", body):
            now = time.perf_counter()
            if event.text:
                if last is None:
                    outcome.ttft = now - outcome.started
                else:
                    outcome.itls.append(now - last)
                last = now
            _note_usage(event, outcome)
        if last is None:
            outcome.error = "the stream held no text"


def _note_usage(event: Event, outcome: Outcome) -> None:
    if event.usage:
        outcome.input_tokens = int(event.usage["prompt_tokens"])
        outcome.output_tokens = int(event.usage["completion_tokens"])
