"""API keys: what a client presents, and what the gateway knows of it.

client   avk-ID-SECRET     SECRET: 43 letters and digits, 256 bits
gateway  id, sha256 of the whole key, tenant, scopes, limits of its own

The id in the key finds the entry; only the hash decides.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from avikam.gateway.limits.rates import Rates

Scope = Literal["infer", "admin", "metrics"]
# What a route or a method asks for: a scope, or nothing at all.
Access = Literal["open", "infer", "admin", "metrics"]

_PREFIX = "avk"
_ALPHABET = string.ascii_letters + string.digits
# 62 ** 43 > 2 ** 256
_SECRET_CHARS = 43
# Compared with when the id is unknown, so that this takes as long as a wrong secret.
_NOBODY = bytes(32)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Key(Rates):
    """One entry of the key file. ``admin`` includes every other scope."""

    id: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    tenant: Name
    scopes: tuple[Scope, ...] = ("infer",)
    # Where sequences wait, those of a lower number go first.
    priority: Annotated[int, Field(ge=-10, le=10)] = 0

    def permits(self, scope: Scope) -> bool:
        """Whether the key may do this."""
        return scope in self.scopes or "admin" in self.scopes


def new_secret(key_id: str) -> str:
    """A key to give to a client: shown once, kept nowhere."""
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
    return f"{_PREFIX}-{key_id}-{secret}"


def digest(secret: str) -> str:
    """What the key file keeps of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


class KeyRing:
    """The keys of one key file."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {f"{_PREFIX}-{key.id}".encode(): key for key in keys}
        self._digests = {name: bytes.fromhex(key.sha256) for name, key in self._keys.items()}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, presented: bytes) -> Key | None:
        """The key a client presents, or None; takes equally long for every wrong one."""
        name, _, _ = presented.rpartition(b"-")
        expected = self._digests.get(name, _NOBODY)
        same = hmac.compare_digest(hashlib.sha256(presented).digest(), expected)
        return self._keys.get(name) if same else None
