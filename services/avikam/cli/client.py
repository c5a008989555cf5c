"""What the terminal commands ask of a gateway: text as it comes, and the figures of an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from avikam import client
from avikam.client import AvikamError, Retries

# Seconds of decoding below which a speed says nothing.
SHORTEST_MEASURABLE = 0.01


class ClientError(Exception):
    """The gateway could not be reached or said no; the message is one line for the user."""


@dataclass(slots=True)
class Answer:
    """What was generated, filled while it arrives. Times are seconds since the request."""

    text: str = ""
    finish_reason: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    first_seconds: float = 0.0
    total_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Generated tokens."""
        return int(self.usage.get("completion_tokens", 0))

    @property
    def tokens_per_second(self) -> float:
        """Decoding speed, without the first token's time; 0 when all came in one breath."""
        decoding = self.total_seconds - self.first_seconds
        return (self.tokens - 1) / decoding if decoding > SHORTEST_MEASURABLE else 0.0

    def as_json(self) -> dict[str, Any]:
        """The answer and its figures, for programs."""
        return {
            "text": self.text,
            "finish_reason": self.finish_reason,
            "usage": dict(self.usage),
            "timings": {
                "first_seconds": round(self.first_seconds, 4),
                "total_seconds": round(self.total_seconds, 4),
                "tokens_per_second": round(self.tokens_per_second, 2),
            },
        }

    def summary(self) -> str:
        """One line of figures."""
        speed = f", {self.tokens_per_second:.1f} tokens/s" if self.tokens_per_second else ""
        return f"{self.tokens} tokens, first after {self.first_seconds:.2f} s{speed}"

    def take(self, event: client.Event, seconds: float) -> None:
        """Note an event that came after so many seconds."""
        self.total_seconds = seconds
        self.usage = event.usage or self.usage
        self.finish_reason = event.finish_reason or self.finish_reason
        self.text += event.text
        if event.text and not self.first_seconds:
            self.first_seconds = seconds


class Client:
    """Streams answers from one gateway. People see an error at once: nothing is asked again."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._url = url
        self._client = client.Client(url, api_key, retries=Retries(0))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def complete(self, prompt: str, options: Mapping[str, Any], answer: Answer) -> Iterator[str]:
        """Continue ``prompt``; yields text as it arrives and fills ``answer``."""
        yield from self._stream("/v1/completions", {"prompt": prompt, **options}, answer)

    def chat(
        self, messages: list[dict[str, str]], options: Mapping[str, Any], answer: Answer
    ) -> Iterator[str]:
        """Answer the last of ``messages``; yields text as it arrives and fills ``answer``."""
        yield from self._stream("/v1/chat/completions", {"messages": messages, **options}, answer)

    def _stream(self, path: str, body: Mapping[str, Any], answer: Answer) -> Iterator[str]:
        started = time.monotonic()
        try:
            for event in self._client.events(path, body):
                answer.take(event, time.monotonic() - started)
                if event.text:
                    yield event.text
        except AvikamError as error:
            # Without a status nobody has answered: then it matters who was asked.
            where = "" if error.status else f"{self._url}: "
            raise ClientError(f"{where}{error.message}") from error
