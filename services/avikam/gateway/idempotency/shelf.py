"""Answers in the Redis that gateways share: running at one gateway, then there for all.

    R fingerprint                     some gateway works on it; a lease it renews, gone if it dies
    D fingerprint (length, part)*     the whole answer

Both are sealed with the secret of the gateways and bound to their name, which is made of tenant and
key: a record that was forged, copied to another name or damaged is a miss. Names are hashes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from avikam.gateway.shared_state.link import RedisLink
from avikam.gateway.shared_state.seal import Seal

_RUNNING, _DONE = b"R", b"D"
_FINGERPRINT = 32
_LENGTH = struct.Struct(">I")
_MOST_BYTES = 2**20
LEASE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """What another gateway has; ``parts`` is None while it is still at work."""

    fingerprint: bytes
    parts: list[bytes] | None


class Shelf:
    """One Redis. Without it every claim succeeds and nothing is found."""

    def __init__(self, link: RedisLink, seal: Seal, seconds: float) -> None:
        self._link = link
        self._seal = seal
        self._seconds = seconds

    async def claim(self, name: str, fingerprint: bytes) -> Found | None:
        """Take on a request; or what another gateway has of it."""
        key, client = self._key(name), self._link.client
        lease = int(LEASE_SECONDS * 1000)
        ours = self._seal.close(_RUNNING + fingerprint, key)

        async def there() -> bytes | None:
            if await client.set(key, ours, nx=True, px=lease):
                return None
            value = await client.get(key)
            return value if isinstance(value, bytes) else None

        value = await self._link.ask(there)
        record = self._seal.open(value, key) if value is not None else None
        return _read(record) if record is not None else None

    async def renew(self, name: str) -> None:
        """Still at work."""
        key, client = self._key(name), self._link.client
        await self._link.ask(lambda: client.pexpire(key, int(LEASE_SECONDS * 1000)))

    async def put(self, name: str, fingerprint: bytes, parts: list[bytes]) -> None:
        """The whole answer, unless it is too big to be written in the link's time."""
        if sum(map(len, parts)) > _MOST_BYTES:
            await self.drop(name)
            return
        record = _DONE + fingerprint + b"".join(_LENGTH.pack(len(part)) + part for part in parts)
        key, client = self._key(name), self._link.client
        value = self._seal.close(record, key)
        await self._link.ask(lambda: client.set(key, value, px=int(self._seconds * 1000)))

    async def drop(self, name: str) -> None:
        """There will be no answer; whoever comes next may try."""
        key, client = self._key(name), self._link.client
        await self._link.ask(lambda: client.delete(key))

    def _key(self, name: str) -> str:
        return self._link.name("idempotency", self._seal.hide(name))


def _read(value: bytes) -> Found | None:
    """What a record says; None for one that is of another version."""
    start = 1 + _FINGERPRINT
    fingerprint, body = value[1:start], value[start:]
    if value[:1] == _RUNNING and len(fingerprint) == _FINGERPRINT:
        return Found(fingerprint, None)
    if value[:1] != _DONE:
        return None
    parts, at = [], 0
    while at + _LENGTH.size <= len(body):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        parts.append(body[at : at + length])
        at += length
    return Found(fingerprint, parts) if at == len(body) else None
