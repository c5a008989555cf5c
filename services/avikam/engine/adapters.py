"""Adapters in memory: by name, counted while in use, least recently used out first.

A name is what clients say; the digest of the content is what the adapter is. Loading other
content under a known name makes a new adapter: sequences that run keep the old one to their end.
"""

from __future__ import annotations

import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avikam.engine.interface import AdapterInfo
from avikam.model.config import ModelConfig
from avikam.model.lora import Adapter, AdapterError, AppliedAdapter
from avikam.model.lora_files import ADAPTER_WEIGHTS, read_adapter
from avikam.model.lora_settings import ADAPTER_CONFIG
from avikam.protocol.errors import ApiError, invalid

Apply = Callable[[Adapter, Path], AppliedAdapter]
"""(what was read, its folder) -> the form that the model runs."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}")


@dataclass(slots=True, eq=False)
class AdapterLease:
    """One loaded adapter and the number of sequences that use it."""

    name: str
    applied: AppliedAdapter
    users: int = 0


class AdapterStore:
    """All adapters of one engine, at most ``budget`` bytes of them. Thread-safe."""

    def __init__(
        self,
        config: ModelConfig,
        root: Path | None,
        budget: int,
        apply: Apply,
    ) -> None:
        self._config = config
        self._root = root
        self._budget = budget
        self._apply = apply
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, AdapterLease] = OrderedDict()
        # Replaced or unloaded while sequences use them: they take memory until those end.
        self._leaving: list[AdapterLease] = []

    def infos(self) -> tuple[AdapterInfo, ...]:
        """What is loaded now."""
        with self._lock:
            return tuple(_info(lease) for lease in self._loaded.values())

    def load(self, name: str, path: str) -> AdapterInfo:
        """Read ``path`` (relative to the adapter root) and make it known as ``name``."""
        if not _NAME.fullmatch(name):
            raise invalid(
                f"adapter name {name[:128]!r} must be letters, digits, '.', '_' or '-'", "name"
            )
        if name == self._config.name:
            raise invalid(f"{name!r} is the model itself; choose another name", "name")
        folder = self._folder(path)
        _check_files(folder)
        try:
            adapter = read_adapter(folder, self._config, self._budget)
            lease = AdapterLease(name, self._apply(adapter, folder))
        except AdapterError as error:
            raise invalid(f"adapter {name!r}: {error}", "path", "invalid_adapter") from error
        with self._lock:
            self._make_room(lease.applied.bytes, self._loaded.get(name))
            self._forget(name)
            self._loaded[name] = lease
        return _info(lease)

    def unload(self, name: str) -> None:
        """Forget a name; sequences that use it finish with it."""
        with self._lock:
            if name not in self._loaded:
                raise _unknown(name, "name")
            self._forget(name)

    def acquire(self, name: str) -> AdapterLease:
        """The adapter for one more sequence; give it back with :meth:`release`."""
        with self._lock:
            lease = self._loaded.get(name)
            if lease is None:
                raise _unknown(name)
            self._loaded.move_to_end(name)
            lease.users += 1
            return lease

    def release(self, lease: AdapterLease) -> None:
        """A sequence no longer uses its adapter; the last user of one that leaves drops it."""
        with self._lock:
            lease.users -= 1
            if not lease.users and lease in self._leaving:
                self._leaving.remove(lease)

    def _folder(self, path: str) -> Path:
        if self._root is None:
            raise ApiError(
                403, "this worker has no adapter root; set `adapters`", "no_adapter_root"
            )
        root = self._root.resolve()
        try:
            folder = (root / path).resolve()
            inside = folder.is_relative_to(root) and folder.is_dir()
        except (OSError, ValueError):
            # Too long for a path, or with a null byte.
            inside = False
        if not inside:
            raise invalid("path names no folder inside the adapter root", "path")
        return folder

    def _make_room(self, needed: int, replaced: AdapterLease | None) -> None:
        """Drop idle adapters until ``needed`` bytes fit: the ``replaced`` one, then those least
        recently used. Raises, and drops none, when that cannot be enough."""
        held = [*self._loaded.values(), *self._leaving]
        busy = sum(lease.applied.bytes for lease in held if lease.users)
        if busy + needed > self._budget:
            raise ApiError(
                429, "every loaded adapter is in use and the budget is full", "adapters_busy"
            )
        size = sum(lease.applied.bytes for lease in held)
        idle = [lease for lease in self._loaded.values() if not lease.users]
        for lease in sorted(idle, key=lambda lease: lease is not replaced):
            if size + needed <= self._budget:
                return
            self._forget(lease.name)
            size -= lease.applied.bytes

    def _forget(self, name: str) -> None:
        lease = self._loaded.pop(name, None)
        if lease is not None and lease.users:
            self._leaving.append(lease)


def _check_files(folder: Path) -> None:
    """Raise for what would never end when it is read: a pipe, a device."""
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        try:
            kind = (folder / name).stat().st_mode
        except OSError:
            continue  # missing ones are named by who reads them
        if not stat.S_ISREG(kind):
            raise invalid(f"{name} is no regular file", "path", "invalid_adapter")


def _info(lease: AdapterLease) -> AdapterInfo:
    return AdapterInfo(lease.name, lease.applied.digest, lease.applied.bytes)


def _unknown(name: str, param: str = "model") -> ApiError:
    return ApiError(404, f"The model `{name}` does not exist.", "model_not_found", param)
