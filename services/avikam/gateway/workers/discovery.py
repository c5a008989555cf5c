"""Where workers are: a fixed list, names whose every address is a worker, a list in Redis.

127.0.0.1:50051               one worker
dns:avikam-worker:50051       every address of the name (a headless Kubernetes service)
registry                      every worker that announced itself in the gateways' Redis
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Sequence

from avikam.gateway.shared_state.registry import Registry
from avikam.gateway.workers.pool import Pool
from avikam.gateway.workers.status_watch import StatusWatch

_log = logging.getLogger(__name__)

_DNS = "dns:"
_REGISTRY = "registry"


class AddressError(ValueError):
    """A worker address that is neither host:port nor dns:name:port."""


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise AddressError(f"worker address {address!r} is not host:port")
    return host.strip("[]"), int(port)


class Discovery:
    """Keeps the pool's members, and one status watch per member, in step with the addresses.

    A member that is no longer listed gets no new sequences; its channel stays until those it has
    are done, because a draining worker leaves the name before it stops.
    """

    def __init__(
        self,
        pool: Pool,
        addresses: Sequence[str],
        seconds: float,
        rng: random.Random,
        registry: Registry | None = None,
    ) -> None:
        self._pool = pool
        self._registry = registry if _REGISTRY in addresses else None
        if _REGISTRY in addresses and registry is None:
            raise AddressError("workers from the registry need the setting redis")
        addresses = [address for address in addresses if address != _REGISTRY]
        self._fixed = [a for a in addresses if not a.startswith(_DNS)]
        self._names = [split_address(a.removeprefix(_DNS)) for a in addresses if a.startswith(_DNS)]
        for address in self._fixed:
            split_address(address)
        self._seconds = seconds
        self._rng = rng
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled; a fixed list needs no second look."""
        moves = bool(self._names or self._registry)
        try:
            while True:
                found = await self._resolve() | await self._registered()
                self._update(set(self._fixed) | found)
                await asyncio.sleep(self._seconds if moves else 3600)
        finally:
            await self._close()

    async def _resolve(self) -> set[str]:
        """Addresses of all names. One that does not resolve keeps the members it had."""
        loop = asyncio.get_running_loop()
        found: set[str] = set()
        for name, port in self._names:
            try:
                answers = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            except OSError as error:
                _log.warning("cannot resolve %s: %s", name, error.strerror)
                return set(self._watches)
            found |= {_join(str(answer[4][0]), port) for answer in answers}
        return found

    async def _registered(self) -> set[str]:
        """What the registry lists. Redis may fail and forget: members that answer stay."""
        if self._registry is None:
            return set()
        listed = await self._registry.addresses()
        if listed is None:
            return set(self._watches)
        answering = {worker.address for worker in self._pool if worker.ready}
        return answering | {address for address in listed if _is_address(address)}

    def _update(self, wanted: set[str]) -> None:
        for address in set(self._watches) - wanted:
            leaving = asyncio.create_task(self._retire(address), name=f"retire {address}")
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        for address in wanted - set(self._watches):
            watch = StatusWatch(self._pool, self._pool.add(address), self._rng)
            self._watches[address] = asyncio.create_task(watch.run(), name=f"status {address}")

    async def _retire(self, address: str) -> None:
        watch = self._watches.pop(address)
        worker = self._pool.remove(address)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        while worker is not None and worker.sequences:  # noqa: ASYNC110 - now and then is enough
            await asyncio.sleep(0.5)
        if worker is not None:
            await worker.close()

    async def _close(self) -> None:
        """Stop watching and close every channel."""
        tasks = [*self._watches.values(), *self._leaving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in self._pool:
            await worker.close()


def _is_address(text: str) -> bool:
    """Whether what somebody wrote into the registry can be an address."""
    try:
        split_address(text)
    except AddressError:
        _log.warning("the registry lists what is no address")
        return False
    return True


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
