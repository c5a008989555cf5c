"""Open-loop load: requests come at their own times, whether or not answers do.

A closed loop of clients slows down with the server and hides its worst moments. Here arrivals are
Poisson; a request's time counts from when it was due.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.faults.streams import Answer, End, SseClient

Pick = Callable[[], str]


@dataclass(slots=True)
class Load:
    """What is asked, how often. It may be changed while it runs."""

    urls: Sequence[str]
    rate: float = 10.0
    tokens: int = 100
    prompt: str = "Bonjour"
    patience: float = 60.0
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    # Tokens after which a client goes away, if it does; by arrival.
    leave_after: Callable[[random.Random], int | None] = lambda rng: None
    seed: int = 1
    answers: list[Answer] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _task: asyncio.Task[None] | None = None
    _seeds: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def in_flight(self) -> int:
        """Answers that have not ended."""
        return len(self._running)

    def start(self) -> None:
        """Begin; :meth:`stop` ends it."""
        self._task = asyncio.create_task(self._arrive())

    async def stop(self) -> None:
        """No more arrivals; wait for what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._running)

    def ask(self, **body: Any) -> asyncio.Task[None]:
        """One request more, now; its answer is the last of :attr:`answers`."""
        return self._begin(time.monotonic(), body)

    def burst(self, count: int) -> None:
        """Many at once."""
        now = time.monotonic()
        for _ in range(count):
            self._begin(now, {})

    async def _arrive(self) -> None:
        rng = random.Random(self.seed)
        due = time.monotonic()
        while True:
            due += rng.expovariate(self.rate)
            await asyncio.sleep(max(due - time.monotonic(), 0))
            self._begin(due, {}, self.leave_after(rng))

    def _begin(
        self, due: float, body: Mapping[str, Any], leave_after: int | None = None
    ) -> asyncio.Task[None]:
        answer = Answer(next(self._seeds), due)
        self.answers.append(answer)
        task = asyncio.create_task(self._stream(answer, body, leave_after))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _stream(
        self, answer: Answer, body: Mapping[str, Any], leave_after: int | None
    ) -> None:
        """Like a client behind a load balancer: who is not there is not asked."""
        asked = {
            "prompt": self.prompt,
            "max_tokens": self.tokens,
            "seed": answer.seed,
            "stream": True,
            "logprobs": 0,
            **self.body,
            **body,
        }
        turn = answer.seed
        for url in (self.urls[(turn + step) % len(self.urls)] for step in range(len(self.urls))):
            client = SseClient(_request(url, asked, self.headers), answer, leave_after)
            parts = urlsplit(url)
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda c=client: c,  # type: ignore[misc]
                    parts.hostname or "",
                    parts.port or 80,
                )
            except OSError:
                continue
            try:
                async with asyncio.timeout_at(answer.due + self.patience):
                    await client.closed
            except TimeoutError:
                client.give_up()
            return
        answer.end, answer.code, answer.ended = End.FAILED, "connection refused", time.monotonic()


def _request(url: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    data = json.dumps(body).encode()
    lines = [
        "POST /generate HTTP/1.1",
        f"host: {urlsplit(url).netloc}",
        "connection: close",
        f"content-length: {len(data)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data
