"""The autoscaler decides as Kubernetes documents it. The examples are the documentation's own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avikam.simulator.autoscaler import (
    Autoscaler,
    ScalingPolicy,
    ScalingRules,
    desired_replicas,
)


@pytest.mark.parametrize(
    ("current", "per_pod", "target", "desired"),
    [
        (4, 200, 100, 8),  # "the number of replicas will be doubled"
        (4, 50, 100, 2),  # "you'll halve the number of replicas"
        (4, 105, 100, 4),  # "sufficiently close to 1.0 (within the tolerance, 0.1 by default)"
        (4, 95, 100, 4),
        (4, 111, 100, 5),  # ceil
        (3, 70, 100, 3),  # ceil(2.1)
    ],
)
def test_desired_replicas(current: int, per_pod: float, target: float, desired: int) -> None:
    assert desired_replicas(current, current * per_pod, target) == desired


def rules(**changes: object) -> ScalingRules:
    defaults: dict[str, object] = {"target": 100, "minimum": 1, "maximum": 1000}
    return ScalingRules(**{**defaults, **changes})  # type: ignore[arg-type]


def test_the_documented_scale_down_from_80_to_10() -> None:
    """ "During the first step 8 replicas will be reduced. In the next iteration when the number of
    replicas is 72, 10% of the pods is 7.2 but the number is rounded up to 8. [...] When the number
    of replicas falls below 40 the first policy will be applied and 4 replicas will be reduced at a
    time." """
    documented = rules(down=ScalingPolicy(pods=4, percent=10, seconds=60), down_window=0)
    scaler, replicas, sizes = Autoscaler(documented), 80, []
    for minute in range(20):
        replicas = scaler.sync(minute * 60.0, replicas, 1000)
        sizes.append(replicas)
    assert sizes[:4] == [72, 64, 57, 51]
    below = [size for size in sizes if size < 40]
    assert below[:3] == [36, 32, 28]
    assert sizes[-1] == 10


def test_the_default_scale_up_adds_four_pods_or_doubles() -> None:
    """ "4 pods or a 100% of the currently running replicas [...] every 15 seconds"."""
    scaler, replicas, sizes = Autoscaler(rules()), 1, []
    for step in range(5):
        replicas = scaler.sync(step * 15.0, replicas, 100_000)
        sizes.append(replicas)
    assert sizes == [5, 10, 20, 40, 80]


def test_a_dip_shorter_than_the_window_removes_nobody() -> None:
    scaler = Autoscaler(rules())
    assert scaler.sync(0, 10, 1000) == 10
    for second in range(15, 285, 15):
        assert scaler.sync(second, 10, 100) == 10
    assert scaler.sync(300, 10, 1000) == 10


def test_after_five_calm_minutes_one_pod_goes_per_minute() -> None:
    scaler, replicas, sizes = Autoscaler(rules()), 5, []
    scaler.sync(0, 5, 500)
    for second in range(15, 600, 15):
        replicas = scaler.sync(second, replicas, 100)
        sizes.append((second, replicas))
    changes = [
        second
        for (second, size), (_, before) in zip(sizes[1:], sizes, strict=False)
        if size != before
    ]
    assert changes[0] == 315
    assert all(later - earlier == 60 for earlier, later in pairwise(changes))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_replicas_stay_within_their_bounds(totals: list[float]) -> None:
    scaler, replicas = Autoscaler(rules(minimum=2, maximum=32)), 2
    for step, total in enumerate(totals):
        before, replicas = replicas, scaler.sync(step * 15.0, replicas, total)
        assert 2 <= replicas <= 32
        assert replicas <= max(2 * before, before + 4)
        assert replicas >= before - max(1, before // 10 + 1)
