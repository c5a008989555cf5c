"""Scheduler, slots, tiers and adapters under random operations: nothing is lost or left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from avikam.engine.kv.prefix_cache import KvOptions
from avikam.engine.scheduler import Scheduler
from avikam.engine.sequence import Sequence
from tests.effort import effort
from tests.engine.machine import Machine, Oracle, adapter_root, engine_by_hand


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("turn", [64, 1], ids=["slots are kept", "slots go round"])
def test_random_operations_conserve_everything_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path, turn: int
) -> None:
    monkeypatch.setattr("avikam.engine.scheduler.TURN", turn)
    handed_back = watched(monkeypatch)
    root = adapter_root(tmp_path, checkpoint)
    common = {"model": checkpoint, "slots": 3, "adapters": root}
    oracle = Oracle(engine_by_hand(monkeypatch, kv=None, token_budget=64, **common))
    engine = engine_by_hand(
        monkeypatch,
        **common,
        token_budget=24,
        queue_requests=8,
        queue_tokens=400,
        adapter_bytes=2 * oracle._engine.stats().adapters[0].bytes,
        kv=KvOptions(host_bytes=120_000, chunk=16, break_even=4),
    )
    for seed in range(effort(quick=200, full=10_000)):
        Machine(engine, oracle, seed).run(acts=40)
    kv = engine.stats().kv
    assert kv is not None
    assert kv.device_hits > 0
    assert kv.host_hits > 0
    assert kv.host_evictions > 0
    assert bool(handed_back) == (turn == 1)
    engine.close()


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the sequences that gave their slot back, as they do."""
    seen: list[str] = []
    hand_back = Scheduler.hand_back

    def noted(scheduler: Scheduler, sequence: Sequence) -> None:
        seen.append(sequence.spec.request_id)
        hand_back(scheduler, sequence)

    monkeypatch.setattr(Scheduler, "hand_back", noted)
    return seen
