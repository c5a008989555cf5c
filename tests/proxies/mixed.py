"""Many clients at once, good and hostile, on kept connections; each answer must be its asker's.

Every request has an id of its own, which the gateway's answer repeats, and a seed, which decides
what is generated: an answer that was made for somebody else shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.gateway.http_server.streams import HOSTILE, INNER, OFFERS, chunked, post
from tests.worker.harness import LOOPBACK, PATIENCE

SEEDS = 16
_END = b"\r\n\r\n"


def question(seed: int, **more: object) -> bytes:
    """A body for /generate."""
    return json.dumps({"prompt": "Bonjour", "max_tokens": 24, "seed": seed, **more}).encode()


@dataclass(slots=True)
class Answer:
    """One reply, read whole."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(slots=True)
class Tally:
    """``kinds`` are answered rightly, by kind; ``wrong`` and ``lost`` say what happened instead.

    ``again`` were asked on a kept connection that ended without a byte of an answer, and then once
    more on a new one, as HTTP clients do (RFC 9112, section 9.3.1): who keeps connections may end
    them at any moment between requests. Go's server does when a reply comes before it has seen the
    end of the request's body.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    again: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def right(self) -> int:
        """Answers that were their askers'."""
        return self.kinds.total()


Write = Callable[[bytes, bytes], bytes]
"""(headers, body) -> the bytes of a request."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to ask /generate: the request for an id's header, a seed and a body."""

    name: str
    request: Write
    stream: bool = False
    # Bytes that fill the body up; what proxies keep in a file is above 16 KiB.
    filling: int = 0


def _offering(offer: bytes, write: Write) -> Write:
    """Write a request with an offer before its other headers."""
    return lambda headers, body: write(offer + headers, body)


def _kinds() -> list[Kind]:
    kinds = [
        Kind("plain", post),
        Kind("streamed", post, stream=True),
        Kind("large", post, filling=20_000),
        Kind("chunked", _in_chunks),
        Kind("expects", lambda headers, body: post(headers + b"Expect: 100-continue\r\n", body)),
    ]
    for name, offer in OFFERS.items():
        kinds += [
            Kind(f"offers {name}", _offering(offer, post)),
            Kind(
                f"offers {name}, large",
                _offering(offer, post),
                filling=20_000,
            ),
            Kind(f"offers {name}, chunked", _offering(offer, _in_chunks)),
        ]
    return kinds


def _in_chunks(headers: bytes, body: bytes) -> bytes:
    data = chunked(headers, body[:10], body[10:])
    return data.replace(b"POST /chunks", b"POST /generate", 1)


KINDS = _kinds()


class MixedLoad:
    """``requests`` good requests by some clients, and beside them a hostile one for each tenth.

    ``expected`` is what the gateway generates for each seed.
    """

    def __init__(self, port: int, requests: int, expected: list[str], clients: int = 8) -> None:
        self.tally = Tally()
        self._port = port
        self._left = requests
        self._expected = expected
        self._clients = clients

    async def run(self) -> Tally:
        """Until all are answered."""
        await asyncio.gather(*(self._client(number) for number in range(self._clients)))
        return self.tally

    async def _client(self, number: int) -> None:
        rng, asked = random.Random(number), 0
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while self._left > 0:
            self._left -= 1
            asked += 1
            if rng.random() < 0.1:
                await self._attack(rng)
            kept = connection is not None
            if connection is None:
                connection = await asyncio.open_connection(LOOPBACK, self._port)
            if not await self._ask(connection, f"c{number}-{asked}", rng, kept=kept):
                connection[1].close()
                connection = None
        if connection is not None:
            connection[1].close()

    async def _ask(
        self,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        name: str,
        rng: random.Random,
        *,
        kept: bool,
    ) -> bool:
        """One good request; whether its connection goes on."""
        reader, writer = connection
        before = rng.getstate()
        kind, seed = rng.choice(KINDS), rng.randrange(SEEDS)
        body = question(seed, **({"stream": True} if kind.stream else {}))
        body += b" " * kind.filling
        data = kind.request(b"x-request-id: " + name.encode() + b"\r\n", body)
        try:
            async with asyncio.timeout(PATIENCE):
                for segment in _segments(data, rng):
                    writer.write(segment)
                    await writer.drain()
                    await asyncio.sleep(0)
                answer = await read_answer(reader)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            if kept and not getattr(error, "partial", b"") and not isinstance(error, TimeoutError):
                self.tally.again += 1
                rng.setstate(before)
                fresh = await asyncio.open_connection(LOOPBACK, self._port)
                await self._ask(fresh, name, rng, kept=False)
                fresh[1].close()
                return False
            self.tally.lost.append(f"{kind.name} {name}: {error!r}")
            return False
        own = answer.headers.get(b"x-request-id") == name.encode()
        if own and answer.status == 200 and text_of(answer, kind.stream) == self._expected[seed]:
            self.tally.kinds[kind.name] += 1
        else:
            self.tally.wrong.append(f"{kind.name} {name}: {answer}")
        return answer.headers.get(b"connection", b"").lower() != b"close"

    async def _attack(self, rng: random.Random) -> None:
        """Something hostile on a connection of its own, left at once or after a while."""
        attack = rng.choice((_smuggled, _hostile, _half))(rng)
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
            for segment in _segments(attack, rng):
                writer.write(segment)
                await writer.drain()
            async with asyncio.timeout(rng.choice((0.0, 0.05))):
                await reader.read()
            writer.close()


def _smuggled(rng: random.Random) -> bytes:
    """A body that looks like requests of others."""
    inner = post(b"x-request-id: smuggled\r\n", question(0)) + INNER
    return post(rng.choice(list(OFFERS.values())), inner * rng.choice((1, 100)))


def _hostile(rng: random.Random) -> bytes:
    return rng.choice(HOSTILE)


def _half(rng: random.Random) -> bytes:
    """A request whose end never comes."""
    data = post(rng.choice(list(OFFERS.values())), question(0) + b" " * 20_000)
    return data[: rng.randrange(1, len(data))]


def _segments(data: bytes, rng: random.Random) -> list[bytes]:
    """Whole, head and body apart, or cut anywhere."""
    match rng.randrange(3):
        case 0:
            return [data]
        case 1:
            border = data.find(_END) + len(_END)
        case _:
            border = rng.randrange(len(data))
    return [segment for segment in (data[:border], data[border:]) if segment]


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One reply, past those that only say "go on"."""
    status = 100
    while status == 100:
        line, *lines = (await reader.readuntil(_END)).rstrip().split(b"\r\n")
        status = int(line.split(b" ")[1])
    headers = {k.lower(): v for k, v in (line.split(b": ", 1) for line in lines)}
    if b"content-length" in headers:
        body = await reader.readexactly(int(headers[b"content-length"]))
    elif headers.get(b"transfer-encoding") == b"chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.read()
    return Answer(status, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


def text_of(answer: Answer, stream: bool) -> str:
    """What was generated."""
    if not stream:
        return str(json.loads(answer.body)["text"])
    lines = [line.removeprefix(b"data: ") for line in answer.body.splitlines()]
    events = [json.loads(line) for line in lines if line.startswith(b"{")]
    return "".join(event.get("text", "") for event in events)
