"""Where sequences and prefix reuse meet: before, at the start of, during and after a run.

submit: name the prefixes, fetch from afar  ──►  start: copy what is known into the slot
end: keep the state for the next turn       ◄──  every chunk boundary of the prompt: keep it
"""

from __future__ import annotations

from collections.abc import Callable

from avikam.engine.interface import KvStats
from avikam.engine.kv.prefix_cache import PrefixCache
from avikam.engine.scheduler import Batch, slot_of
from avikam.engine.sequence import Sequence
from avikam.model.attention.snapshot import SlotStore


class PrefixReuse:
    """Copies states between the slots and a :class:`PrefixCache`; without one it does nothing."""

    def __init__(self, slots: SlotStore, prefixes: PrefixCache | None) -> None:
        self._slots = slots
        self._prefixes = prefixes
        self._seconds_per_token = 0.0

    @property
    def boundary(self) -> int | None:
        """Chunks must end at multiples of this."""
        return None if self._prefixes is None else self._prefixes.chunk

    def begin(self, sequence: Sequence, wake: Callable[[], None]) -> None:
        """Name the prefixes, and fetch what another tier knows of them while it queues."""
        if self._prefixes is None:
            return
        tokens, adapter, tenant = sequence.tokens, sequence.digest, sequence.spec.tenant
        sequence.chain = self._prefixes.chain(tokens, adapter, tenant)
        if sequence.reusable:
            sequence.prefetch = self._prefixes.prefetch(tokens, adapter, tenant, wake)

    def restore(self, sequence: Sequence) -> None:
        """Copy the longest known prefix into the slot; at least one token is left to compute."""
        if self._prefixes is None or sequence.chain is None or not sequence.reusable:
            return
        limit = len(sequence.tokens) - 1
        snapshot = self._prefixes.find(sequence.chain, limit, self._seconds_per_token)
        if snapshot is not None:
            self._slots.restore(slot_of(sequence), snapshot)
            sequence.skip(snapshot.seen)

    def measured(self, batch: Batch, seconds: float) -> None:
        """Take note of how long a step took."""
        if batch.chunks:
            self._seconds_per_token = seconds / batch.size

    def keep_prompts(self, batch: Batch) -> None:
        """Keep the states of prompts that stand at a boundary after a step."""
        if self._prefixes is None:
            return
        for sequence, _ in batch.chunks:
            if sequence.computed % self._prefixes.chunk == 0:
                self._keep(sequence, turn_end=False)

    def keep_turn(self, sequence: Sequence) -> None:
        """Keep the state of a sequence that has come to its natural end."""
        self._keep(sequence, turn_end=True)

    def stats(self) -> KvStats | None:
        return None if self._prefixes is None else self._prefixes.stats()

    def close(self) -> None:
        if self._prefixes is not None:
            self._prefixes.close()

    def _keep(self, sequence: Sequence, *, turn_end: bool) -> None:
        if self._prefixes is None or sequence.chain is None:
            return
        slot, seen = slot_of(sequence), sequence.computed
        self._prefixes.save(
            sequence.chain,
            seen,
            sequence.spec.tenant,
            lambda: self._slots.snapshot(slot, seen),
            turn_end=turn_end,
        )
