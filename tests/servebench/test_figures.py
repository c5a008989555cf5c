"""Figures against hand-made outcomes, and arrivals against what their process promises."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from pathlib import Path

import numpy as np
import pytest

from avikam.servebench.arrivals import arrival_times
from avikam.servebench.client import Outcome
from avikam.servebench.figures import figures, most_at_once, percentile
from avikam.servebench.prompts import generated_prompts, prompts_of

OUTCOMES = [
    Outcome(0.0, ttft=0.1, latency=0.5, itls=[0.2, 0.2], input_tokens=10, output_tokens=5),
    Outcome(0.2, ttft=0.2, latency=1.0, itls=[0.8], input_tokens=20, output_tokens=3),
    Outcome(2.0, error="refused"),
]


def test_totals_and_rates_count_only_whole_answers() -> None:
    found = figures(OUTCOMES, 2.0, {}, [99])
    assert (found["completed"], found["failed"]) == (2, 1)
    assert found["total_input_tokens"] == 30
    assert found["output_throughput"] == 4.0
    assert found["request_throughput"] == 1.0
    assert found["request_goodput"] is None


def test_times_have_the_names_of_the_field() -> None:
    found = figures(OUTCOMES, 2.0, {}, [50, 99.9])
    assert found["mean_ttft_ms"] == pytest.approx(150)
    # Four tokens came in the 0.4 s after the first; two in 0.8 s.
    assert found["mean_tpot_ms"] == pytest.approx((100 + 400) / 2)
    assert found["median_itl_ms"] == pytest.approx(200)
    assert found["p50_e2el_ms"] == pytest.approx(750)
    assert {"std_ttft_ms", "p99.9_itl_ms"} <= set(found)


def test_goodput_is_what_kept_every_limit() -> None:
    def good(**limits: float) -> float:
        return float(figures(OUTCOMES, 2.0, limits, [])["request_goodput"])

    assert good(ttft=100) == 0.5
    assert good(ttft=200) == 1.0
    assert good(ttft=200, tpot=100) == 0.5
    assert good(e2el=400) == 0.0


def test_percentiles_are_numpys() -> None:
    values = [random.Random(3).expovariate(1) for _ in range(37)]
    for share in (0, 12.5, 50, 95, 99, 100):
        assert percentile(values, share) == pytest.approx(np.percentile(values, share))
    assert percentile([], 99) == 0.0


def test_the_most_at_once_is_counted() -> None:
    assert most_at_once(OUTCOMES[:2]) == 2
    assert most_at_once([OUTCOMES[0], OUTCOMES[2]]) == 1


@pytest.mark.parametrize(("burstiness", "spread"), [(1.0, 1.0), (4.0, 0.5), (0.25, 2.0)])
def test_gaps_have_the_asked_rate_and_spread(burstiness: float, spread: float) -> None:
    times = [0.0, *arrival_times(20_000, 50.0, burstiness, random.Random(1))]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = statistics.fmean(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert statistics.pstdev(gaps) / mean == pytest.approx(spread, rel=0.05)


def test_an_infinite_rate_starts_all_at_once() -> None:
    assert set(arrival_times(5, math.inf, 1.0, random.Random(1))) == {0.0}


def test_prompts_come_from_a_file_again_and_again(tmp_path: Path) -> None:
    file = tmp_path / "prompts"
    file.write_text('Bonjour\n\n{"prompt": "Hello there"}\n', encoding="utf-8")
    assert prompts_of(file, 3) == ["Bonjour", "Hello there", "Bonjour"]
    file.write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match='line 1 is no JSON object with "prompt"'):
        prompts_of(file, 1)


def test_generated_prompts_differ_and_have_their_length() -> None:
    prompts = generated_prompts(50, 12, random.Random(0))
    assert len(set(prompts)) == 50
    assert {len(prompt.split()) for prompt in prompts} == {12}
