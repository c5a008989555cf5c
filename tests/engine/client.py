"""A caller of the engine that collects what its sequences say."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from avikam.engine.engine import TorchEngine
from avikam.engine.interface import Delta, Finish, SequenceSpec
from avikam.protocol.sampling import SamplingParams

_ids = itertools.count()


@dataclass
class Answer:
    """Everything one sequence said."""

    request_id: str
    deltas: list[Delta] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def __call__(self, delta: Delta) -> None:
        if self.done.is_set():
            raise AssertionError("a finished sequence spoke again")
        self.deltas.append(delta)
        if delta.finish is not None:
            self.done.set()

    def wait(self, timeout: float = 60.0) -> Answer:
        if not self.done.wait(timeout):
            raise TimeoutError(f"sequence {self.request_id} did not end")
        return self

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def tokens(self) -> list[int]:
        return [token for delta in self.deltas for token in delta.tokens]

    @property
    def finish(self) -> Finish:
        finish = self.wait().deltas[-1].finish
        assert finish is not None
        return finish


def ask(
    engine: TorchEngine,
    prompt: list[int],
    *,
    generated: tuple[int, ...] = (),
    adapter: str = "",
    tenant: str = "",
    priority: int = 0,
    deadline: float | None = None,
    on_delta: Callable[[Delta], None] | None = None,
    **sampling: Any,
) -> Answer:
    """Submit one sequence; returns at once."""
    answer = Answer(f"request-{next(_ids)}")

    def sink(delta: Delta) -> None:
        answer(delta)
        if on_delta is not None:
            on_delta(delta)

    spec = SequenceSpec(
        answer.request_id,
        tuple(prompt),
        SamplingParams(**sampling),
        generated=generated,
        adapter=adapter,
        tenant=tenant,
        priority=priority,
        deadline=deadline,
    )
    engine.submit(spec, sink)
    return answer
