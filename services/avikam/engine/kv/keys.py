"""What a prefix is called: a chain of keyed hashes over everything its keys and values depend on.

    root ─ 256 tokens ─► key ─ 256 tokens ─► key ─ 77 tokens ─► key of a turn's end

The root says model, storage format, adapter content and tenant, and the secret of the cluster goes
into it: two prefixes share a key when, and only when, they may share their state.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b

_PERSON = b"avikam-kv-1"
_MOST_SECRET = 64  # blake2b's longest key


def token_bytes(tokens: Sequence[int]) -> bytes:
    """Tokens as little-endian 32-bit integers."""
    packed = array("I", tokens)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def root_key(secret: str, *parts: str) -> bytes:
    """The beginning of all chains of one (model, format, adapter, tenant); 32 bytes."""
    key = secret.encode()
    if len(key) > _MOST_SECRET:
        key = blake2b(key).digest()
    root = blake2b(key=key, digest_size=32, person=_PERSON)
    for part in map(str.encode, parts):
        root.update(struct.pack("<Q", len(part)) + part)
    return root.digest()


def seal_key(secret: str, key: bytes) -> bytes:
    """What seals the block that is stored under ``key``."""
    return root_key(secret, "seal", key.hex())


class PrefixChain:
    """Keys of the prefixes of one growing token list; a list only ever grows at its end."""

    def __init__(self, root: bytes, tokens: Sequence[int], chunk: int) -> None:
        self.chunk = chunk
        self._tokens = tokens
        self._boundaries = [root]

    @property
    def root(self) -> bytes:
        """What the prefixes depend on besides their tokens."""
        return self._boundaries[0]

    def key(self, length: int) -> bytes:
        """Key of the first ``length`` tokens."""
        boundary, tail = self._parent(length), length % self.chunk
        if not tail:
            return boundary
        return _next(boundary, self._tokens[length - tail : length])

    def parent(self, length: int) -> bytes:
        """Key of the last boundary at or before ``length``."""
        return self._parent(length)

    def boundaries(self, limit: int) -> Iterator[tuple[int, bytes]]:
        """(length, key) of every boundary up to ``limit``, longest first, the root included."""
        for length in range(limit // self.chunk * self.chunk, -1, -self.chunk):
            yield length, self._parent(length)

    def prefix(self, length: int) -> bytes:
        """The first ``length`` tokens, for comparison."""
        return token_bytes(self._tokens[:length])

    def _parent(self, length: int) -> bytes:
        wanted = length // self.chunk
        while len(self._boundaries) <= wanted:
            start = (len(self._boundaries) - 1) * self.chunk
            known = self._boundaries[-1]
            self._boundaries.append(_next(known, self._tokens[start : start + self.chunk]))
        return self._boundaries[wanted]


def _next(parent: bytes, tokens: Sequence[int]) -> bytes:
    return blake2b(token_bytes(tokens), key=parent, digest_size=32, person=_PERSON).digest()
