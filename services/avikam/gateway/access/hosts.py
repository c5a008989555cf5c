"""By which names a client may call this gateway.

A web page can make its own name point to 127.0.0.1 after it was loaded (DNS rebinding): the
browser then takes a gateway of this machine for a part of that page, and only the ``Host`` header
still tells whom the page believes to talk to. So names that a stranger could own are refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

_ANY = "*"
# Names below these are never given to anybody by the public DNS (RFC 6761, RFC 6762, and ICANN's
# resolution 2024.07.29.06).
_LOCAL = (".localhost", ".local", ".internal")


class HostNames:
    """Loopback names, and ``names``: exact ones, ``*.example.org`` for all below, ``*`` for any.

    Without ``names``, a gateway with keys takes any name, for no page has a key. A ``keyless`` one
    then also takes those that the public DNS gives to nobody: of one word, or below a name that is
    reserved for local use. Who rules the names of the local network can still make one point here;
    given names close that.
    """

    def __init__(self, names: Iterable[str], *, keyless: bool) -> None:
        given = {_plain(name) for name in names}
        self._local = not given
        self._any = _ANY in given or not (given or keyless)
        self._exact = frozenset(name for name in given if not name.startswith(_ANY))
        self._below = tuple(name[1:] for name in given if name.startswith("*."))

    def accept(self, authority: str) -> bool:
        """Whether ``host`` or ``host:port`` is a name of ours, whatever the port."""
        if self._any:
            return True
        name = _plain(_without_port(authority))
        if name in self._exact or is_loopback(name) or name.endswith(self._below):
            return True
        return self._local and _is_local(name)


def is_loopback(name: str) -> bool:
    """Whether a name or an address cannot mean another machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_local(name: str) -> bool:
    """A name of one word, or of a part that is reserved for local use."""
    one_word = bool(name) and not name.isdigit() and "." not in name and ":" not in name
    return one_word or name.endswith(_LOCAL)


def _without_port(authority: str) -> str:
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def _plain(name: str) -> str:
    """A name as it is compared: small letters, without the root's dot or an address's brackets."""
    return name.lower().rstrip(".").strip("[]")
