"""What gateways keep in Redis is sealed: who writes to it cannot speak for a gateway, who reads it
learns neither answers nor the names of tenants.

    sealed    version (1 byte), nonce (12), AES-256-GCM of the record, bound to its name
    a name    blake2b, keyed

Both keys come from one secret that all gateways share and nobody else has. Whatever does not open
is as good as absent.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_NONCE = 12


class Seal:
    """Seals and names records with keys of one ``secret``."""

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(_key(secret, b"avikam-seal"))
        self._names = _key(secret, b"avikam-names")

    def close(self, record: bytes, name: str) -> bytes:
        """The record, sealed under its name."""
        nonce = secrets.token_bytes(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, record, _VERSION + name.encode())

    def open(self, sealed: bytes, name: str) -> bytes | None:
        """The record that was sealed under this name; None for anything else."""
        nonce, body = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        if sealed[:1] != _VERSION or len(nonce) < _NONCE:
            return None
        try:
            return self._cipher.decrypt(nonce, body, _VERSION + name.encode())
        except InvalidTag:
            return None

    def hide(self, text: str) -> str:
        """A name that tells nothing of the text to who has not the secret."""
        return blake2b(text.encode(), key=self._names, digest_size=16).hexdigest()


def _key(secret: str, purpose: bytes) -> bytes:
    digest = blake2b(secret.encode(), digest_size=64).digest()
    return blake2b(key=digest, digest_size=32, person=purpose).digest()
