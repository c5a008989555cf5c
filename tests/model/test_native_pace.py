"""How many threads a step takes: all while they are worth it, fewer beside a busy neighbour."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from avikam.model.native.crew import Pace
from avikam.model.native.selftest import native_problem
from tests.model.builders import random_tokens, small_config
from tests.model.native_runs import native, run

MS = 1_000_000


def steps(pace: Pace, count: int, gain: float, most: int = 2) -> list[int]:
    """Threads of ``count`` steps of 5 ms, each worth ``gain`` of its threads."""
    taken = []
    for _ in range(count):
        threads = pace.threads(most)
        pace.note(threads, 5 * MS, int(5 * MS * max(1.0, gain * threads)))
        taken.append(threads)
    return taken


def test_threads_that_are_worth_it_stay() -> None:
    assert set(steps(Pace(), 500, gain=0.95)) == {2}


def test_beside_a_neighbour_nearly_all_steps_go_with_one_thread() -> None:
    taken = steps(Pace(), 2000, gain=0.5)
    assert taken[:4] == [2, 2, 1, 1]
    assert taken.count(2) <= 40, "each failed try is followed by a longer break"


def test_the_threads_come_back_when_the_neighbour_leaves() -> None:
    pace = Pace()
    steps(pace, 40, gain=0.5)
    assert set(steps(pace, 2000, gain=0.95)[-100:]) == {2}


def test_of_many_threads_half_go_at_a_time() -> None:
    pace = Pace()
    taken = steps(pace, 12, gain=0.3, most=8)
    assert [t for t, before in zip(taken, [0, *taken], strict=False) if t != before] == [8, 4, 2, 1]


def test_another_number_of_threads_begins_anew() -> None:
    pace = Pace()
    steps(pace, 40, gain=0.5)
    assert pace.threads(4) == 4
    assert pace.threads(1) == 1


@pytest.mark.skipif(
    bool(native_problem()) and os.environ.get("CI") != "true", reason=native_problem()
)
def test_a_team_serves_steps_from_several_threads_one_after_the_other() -> None:
    """Whoever finds the team busy steps alone: nobody waits, and no bit differs."""
    config = small_config()
    tokens, before = random_tokens(config, 60), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        expected = run(*native(config), tokens, [60])
        results: list[torch.Tensor] = []
        workers = [
            threading.Thread(target=lambda: results.append(run(*native(config), tokens, [1] * 60)))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=120)
        assert len(results) == 4
        assert all(torch.equal(result, expected) for result in results)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(
    bool(native_problem()) and os.environ.get("CI") != "true", reason=native_problem()
)
def test_after_a_fork_the_child_steps_without_the_threads_it_lost() -> None:
    config = small_config()
    tokens, before = random_tokens(config, 20), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model, slots = native(config)
        expected = run(model, slots, tokens, [20])
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(run(model, slots, tokens, [20]), expected) else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        torch.set_num_threads(before)
