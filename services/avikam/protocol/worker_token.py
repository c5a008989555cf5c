"""The secret that a gateway shows a worker with every call, where they share no certificates.

A setting may hold several, separated by commas: a worker takes each of them, a gateway shows the
first. So a secret is renewed without a gap: first add the new one to the workers, then give it to
the gateways, then take the old one away.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

HEADER = "x-avikam-token"
_SHORTEST = 16


def tokens(secret: str) -> tuple[bytes, ...]:
    """The tokens of a setting. Raises ValueError for one that can be guessed or cannot travel."""
    found = tuple(part.strip() for part in secret.split(","))
    for token in found:
        if len(token) < _SHORTEST or not (token.isascii() and token.isprintable()):
            raise ValueError(
                f"a token has {len(token)} characters; it needs at least {_SHORTEST}, printable "
                "ASCII, e.g. those of: openssl rand -hex 32"
            )
    return tuple(token.encode() for token in found)


def is_one_of(shown: str | bytes, known: Sequence[bytes]) -> bool:
    """Whether a token is right; takes the same time whichever is wrong, and where."""
    given = shown if isinstance(shown, bytes) else shown.encode()
    # All of them are compared, not only those before the right one.
    return sum(hmac.compare_digest(given, token) for token in known) > 0
