"""Decides who may do what and how much of it, for HTTP and gRPC alike.

no key, wrong key, two keys   401; after twenty of one key and address, 429 in between
key without the scope         403

The replies are fixed texts: they do not tell a wrong id from a wrong secret. A good key is let in
also from an address with too many failures, for many clients may share a proxy's address; guessing
256 bits is hopeless at any rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from avikam.gateway.access.failed_tries import FailedTries, beginning_of
from avikam.gateway.access.keys import Access, Key, Scope
from avikam.gateway.access.live_keys import LiveKeys
from avikam.gateway.access.tariff import Tariff
from avikam.gateway.limits.allowance import Allowance
from avikam.protocol.errors import ApiError

_BEARER = b"bearer "
_KEY_HEADERS = frozenset({b"authorization", b"x-api-key"})


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whose a call is, what limits it, and before or behind whom it waits."""

    tenant: str
    allowance: Allowance | None
    priority: int = 0


_ANYBODY = Admitted("", None)


class Gatekeeper:
    """Without keys (``None``) everybody is let in, as the empty tenant."""

    def __init__(self, keys: LiveKeys | None, tariff: Tariff, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._tariff = tariff
        self._failed = FailedTries(clock)

    def admit(
        self, headers: Iterable[tuple[bytes, bytes]], address: str, access: Access | None
    ) -> Admitted:
        """The request's tenant and allowance; names of headers are in lower case.

        ``access`` is what the route or method asks for; None, of which nobody has said what it asks
        for, is denied to everybody. Raises ApiError.
        """
        if access is None:
            raise _undeclared()
        if access == "open":
            return _ANYBODY
        if self._keys is None:
            return Admitted("", self._tariff.allowance(None))
        presented = presented_keys(headers)
        key = self._find(presented)
        if key is None:
            raise self._refused(address, beginning_of(presented))
        if not key.permits(access):
            raise _missing_scope(access)
        return Admitted(key.tenant, self._tariff.allowance(key), key.priority)

    def _find(self, presented: set[bytes]) -> Key | None:
        if self._keys is None or len(presented) != 1:
            return None
        return self._keys.ring.find(next(iter(presented)))

    def _refused(self, address: str, beginning: bytes) -> ApiError:
        wait = self._failed.count(address, beginning)
        return _no_key() if wait is None else _too_many(wait)


def presented_keys(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """Every different key in ``Authorization: Bearer`` and ``x-api-key``; none when one of these
    headers is there twice, of which a proxy and we might look at different ones."""
    found: set[bytes] = set()
    names: set[bytes] = set()
    for name, value in headers:
        if name not in _KEY_HEADERS:
            continue
        if name in names:
            return set()
        names.add(name)
        if name == b"x-api-key":
            found.add(value.strip())
        elif value[: len(_BEARER)].lower() == _BEARER:
            found.add(value[len(_BEARER) :].strip())
    return found


def _no_key() -> ApiError:
    return ApiError(
        401,
        "Send a valid API key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
        "invalid_api_key",
        headers={"www-authenticate": "Bearer"},
    )


def _too_many(wait: float) -> ApiError:
    return ApiError(
        429,
        "The API key is not valid, and was not many times before; check it.",
        "too_many_failed_tries",
        retry_after=wait,
    )


def _missing_scope(scope: Scope) -> ApiError:
    return ApiError(403, f"This needs a key with the scope {scope}.", "missing_scope")


def _undeclared() -> ApiError:
    return ApiError(403, "Nobody may use this: it has no scope.", "no_scope")
