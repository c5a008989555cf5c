"""A small streaming client of a gateway's OpenAI routes, for the terminal commands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

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


class Client:
    """Streams answers from one gateway."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # Loading, queueing and prefill may take a while; a stream that started must not stop.
        timeout = httpx.Timeout(60.0, read=300.0)
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        try:
            with self._http.stream("POST", path, json=asked) as response:
                if response.is_error:
                    raise ClientError(_reason(response))
                for text in read_events(response.iter_lines(), answer):
                    answer.total_seconds = time.monotonic() - started
                    if text:
                        answer.first_seconds = answer.first_seconds or answer.total_seconds
                        answer.text += text
                        yield text
        except httpx.HTTPError as error:
            raise ClientError(f"{self._http.base_url}: {error}") from error


def read_events(lines: Iterator[str], answer: Answer) -> Iterator[str]:
    """Text of each event of a stream, empty for some; the rest goes into ``answer``.

    Raises :class:`ClientError` for an error event, for an end that is none, and for what is no
    event of ours at all.
    """
    try:
        for event in _events(lines):
            yield _absorb(event, answer)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ClientError("the answer is no event stream of an Avikam gateway") from error


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """JSON objects of a server-sent event stream, up to ``[DONE]``."""
    for line in lines:
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data == "[DONE]":
            return
        if data:
            yield json.loads(data)
    raise ClientError("the stream ended before the answer did")


def _absorb(event: Mapping[str, Any], answer: Answer) -> str:
    """Take usage and finish reason from an event; return its text."""
    if "error" in event:
        raise ClientError(event["error"]["message"])
    answer.usage = event.get("usage") or answer.usage
    text = ""
    for choice in event.get("choices", ()):
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        text += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
    return text


def _reason(response: httpx.Response) -> str:
    """The message of an error answer."""
    response.read()
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code} {response.reason_phrase}"
