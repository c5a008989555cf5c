"""A stand-in for a GPU's queue, graphs and pinned memory that is as unforgiving as they are.

A copy to the host arrives when a fence behind it has been waited for, and not before. Pinned
memory that is rewritten while its copy may still be under way is an error. A capture records
tensor operations and refuses what CUDA refuses; a replay repeats them on the same memory, with
none of the Python that led to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NOT_YET = -999
_REFUSED = {
    torch.ops.aten._local_scalar_dense.default: "a value read by the host",
    torch.ops.aten.nonzero.default: "a shape that depends on data",
    torch.ops.aten.lift_fresh.default: "a tensor made from host data",
}


@dataclass(eq=False)
class _Copy:
    host: Tensor
    content: Tensor
    to_host: bool

    def finish(self) -> None:
        if self.to_host:
            self.host.copy_(self.content)
        elif not torch.equal(self.host, self.content):
            raise RuntimeError("pinned memory was rewritten while its copy was under way")


@dataclass
class Recorder:
    """An :class:`~avikam.engine.device.accelerator.Accelerator`; ``journal`` is what it did."""

    journal: list[str] = field(default_factory=list)
    _pinned: set[int] = field(default_factory=set)
    _kept: list[Tensor] = field(default_factory=list)
    _pending: list[_Copy] = field(default_factory=list)

    def pinned(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        memory = torch.zeros(rows, columns, dtype=dtype)
        self._kept.append(memory)
        self._pinned.add(memory.untyped_storage().data_ptr())
        return memory

    def copy(self, source: Tensor, target: Tensor) -> None:
        to_host = self._is_pinned(target)
        if to_host == self._is_pinned(source):
            raise RuntimeError("exactly one end of a copy is pinned")
        if to_host:
            self.journal.append("asked")
            self._pending.append(_Copy(target, source.clone(), to_host=True))
            target.fill_(NOT_YET)
        else:
            self._pending.append(_Copy(source, source.clone(), to_host=False))
            target.copy_(source)

    def fence(self) -> _Fence:
        return _Fence(self, list(self._pending))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        work()
        tape = _Tape()
        with tape:
            work()

        def replay() -> None:
            self.journal.append("replayed")
            tape.replay()

        self.journal.append("captured")
        return replay

    def reach(self, copies: list[_Copy]) -> None:
        """The host waits for these, as far as they are not there yet."""
        missing = [copy for copy in self._pending if copy in copies]
        self._pending = [copy for copy in self._pending if copy not in missing]
        if missing:
            self.journal.append("waited")
        for copy in missing:
            copy.finish()

    def _is_pinned(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned


@dataclass
class _Fence:
    recorder: Recorder
    copies: list[_Copy]

    def synchronize(self) -> None:
        self.recorder.reach(self.copies)


class _Tape(TorchDispatchMode):
    """Tensor operations with the memory that they read and wrote."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled, and importing the compiler takes seconds."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _REFUSED:
            raise RuntimeError(f"not permitted while a stream is capturing: {_REFUSED[func]}")
        out = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, out in self._operations:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
