"""Where sequences and prefix reuse meet: before, at the start of, during and after a run.

submit: name the prefixes, fetch from afar  ──►  start: a slot that holds it, or a copy of it
end: keep the state for the next turn       ◄──  every chunk boundary of the prompt: keep it
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq

from avikam.engine.interface import KvStats
from avikam.engine.kv.prefix_cache import PrefixCache
from avikam.engine.kv.spare import SpareSlots, SpareState
from avikam.engine.scheduler import Batch, slot_of
from avikam.engine.sequence import Sequence
from avikam.model.attention.snapshot import SlotStore


class PrefixReuse:
    """Copies states between the slots and a :class:`PrefixCache`; without one it does nothing."""

    def __init__(self, slots: SlotStore, prefixes: PrefixCache | None) -> None:
        self._slots = slots
        self._prefixes = prefixes
        self._spare = SpareSlots()
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

    def place(self, sequence: Sequence, free: Seq[int]) -> int:
        """The slot for a sequence that starts: one that holds its beginning, if there is one."""
        if sequence.chain is None:
            return min(free)  # slots side by side are read without a copy
        beginning = sequence.tokens if sequence.reusable else ()
        return self._spare.choose(free, sequence.chain.root, beginning)

    def restore(self, sequence: Sequence) -> None:
        """Bring the longest known prefix into the slot; at least one token is left to compute."""
        spare = self._spare.take(slot_of(sequence))
        if self._prefixes is None or sequence.chain is None or not sequence.reusable:
            return
        chain, limit, pace = sequence.chain, len(sequence.tokens) - 1, self._seconds_per_token
        if spare is not None and spare.begins(chain.root, sequence.tokens):
            seen = len(spare.tokens)
            if self._prefixes.is_longest(chain, limit, seen, pace):
                sequence.skip(seen)
                return
        snapshot = self._prefixes.find(chain, limit, pace)
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

    def keep_place(self, sequence: Sequence) -> None:
        """Keep the state of a sequence that gives its slot back, for itself."""
        self._keep_whole(sequence, turn_end=False)

    def keep_turn(self, sequence: Sequence) -> None:
        """Keep the state of a sequence that has come to its natural end: its slot holds it too."""
        self._keep_whole(sequence, turn_end=True)

    def _keep_whole(self, sequence: Sequence, *, turn_end: bool) -> None:
        if self._keep(sequence, turn_end=turn_end) and sequence.chain is not None:
            tokens = tuple(sequence.tokens[: sequence.computed])
            self._spare.keep(slot_of(sequence), SpareState(sequence.chain.root, tokens))

    def stats(self) -> KvStats | None:
        """What the prefix cache holds and did; None without one."""
        return None if self._prefixes is None else self._prefixes.stats()

    def close(self) -> None:
        """End the prefix cache's threads."""
        if self._prefixes is not None:
            self._prefixes.close()

    def _keep(self, sequence: Sequence, *, turn_end: bool) -> bool:
        """Save a state; whether it may be used again."""
        if self._prefixes is None or sequence.chain is None:
            return False
        slot, seen = slot_of(sequence), sequence.computed
        return self._prefixes.save(
            sequence.chain,
            seen,
            sequence.spec.tenant,
            lambda: self._slots.snapshot(slot, seen),
            turn_end=turn_end,
        )
