"""A step between its launch and the moment the host reads what it chose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from avikam.engine.interface import TokenChoice
from avikam.engine.sampler import sample
from avikam.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Flight:
    """``ready``: sequences that get a token, in the order of :attr:`land`'s answers.

    ``ahead``: the device has chosen and kept the tokens, so the next step may be launched before
    :attr:`land` is called. Of flights one behind the other, the earlier lands first.
    """

    ready: tuple[Sequence, ...]
    land: Callable[[], list[TokenChoice | None]]
    ahead: bool = False


def host_flight(ready: tuple[Sequence, ...], logits: Tensor, never: Tensor) -> Flight:
    """A step whose tokens the host chooses from ``logits`` [ready, vocab]."""

    def land() -> list[TokenChoice | None]:
        if not ready:
            return []
        return sample(logits.cpu(), [sequence.sampling_row() for sequence in ready], never)

    return Flight(ready, land)
