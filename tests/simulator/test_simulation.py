"""The simulated cluster: nothing is lost, load is followed, and equal scenarios are equal."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avikam.cli.simulate import app
from avikam.gateway.admission.admission import AdmissionLimits
from avikam.simulator.autoscaler import ScalingRules
from avikam.simulator.hardware import HARDWARE
from avikam.simulator.report import cost_table, figures
from avikam.simulator.simulation import Scenario, Simulation
from avikam.simulator.traces import SHAPES, Trace

A10G = HARDWARE["a10g-single"]
RULES = ScalingRules(target=math.ceil(0.7 * A10G.slots))


def scenario(name: str = "step", peak: float = 60, seconds: float = 600) -> Scenario:
    return Scenario(Trace(name, peak, seconds), A10G, RULES)


@pytest.mark.parametrize("name", SHAPES)
def test_every_request_is_completed_rejected_or_still_there(name: str) -> None:
    outcome = Simulation(scenario(name, peak=40, seconds=300)).run()
    assert outcome.arrived == outcome.completed + outcome.rejected + outcome.unfinished
    assert outcome.arrived > 0
    assert len(outcome.first_tokens) == outcome.completed


def test_equal_scenarios_have_equal_outcomes() -> None:
    assert Simulation(scenario()).run() == Simulation(scenario()).run()
    assert Simulation(scenario()).run() != Simulation(replace(scenario(), seed=1)).run()


def test_light_traffic_keeps_the_minimum_and_waits_for_nothing() -> None:
    outcome = Simulation(scenario("steady", peak=1)).run()
    assert {sample.replicas for sample in outcome.samples} == {2}
    step = A10G.step_seconds(1, 89)
    assert min(outcome.first_tokens) == pytest.approx(step + A10G.prefill_seconds(64))


def test_a_rise_is_followed_after_the_pods_start() -> None:
    outcome = Simulation(scenario(peak=100, seconds=900)).run()
    rise = 0.2 * 900
    wanted = next(s.time for s in outcome.samples if s.replicas > 2)
    ready = next(s.time for s in outcome.samples if s.ready > 2)
    assert rise <= wanted <= rise + 60
    assert A10G.startup_seconds <= ready - wanted <= A10G.startup_seconds + 15


def test_a_spike_is_over_before_the_pool_shrinks() -> None:
    outcome = Simulation(scenario("spike", peak=150, seconds=1800)).run()
    most = max(sample.replicas for sample in outcome.samples)
    assert most > 2
    last_at_most = max(s.time for s in outcome.samples if s.replicas == most)
    assert last_at_most - 0.5 * 1800 >= 240


def test_overload_is_rejected_not_queued_for_ever() -> None:
    tight = replace(
        scenario("steady", peak=100, seconds=300),
        rules=replace(RULES, maximum=2),
        limits=AdmissionLimits(requests=50),
    )
    outcome = Simulation(tight).run()
    assert outcome.rejected > 0
    room = 2 * (A10G.slots + 1024) + 50
    assert max(sample.demand for sample in outcome.samples) <= room


def test_throughput_under_overload_is_the_hardwares() -> None:
    busy = replace(scenario("steady", peak=100, seconds=300), rules=replace(RULES, maximum=2))
    outcome = Simulation(busy).run()
    assert outcome.completed / 300 == pytest.approx(2 * A10G.requests_per_second(64, 50), rel=0.15)


def test_step_times_are_the_rooflines() -> None:
    """One sequence of 2048 tokens: 8.6 ms at full bandwidth; 80 % of it, and half of that rate."""
    assert A10G.step_seconds(1, 2048) == pytest.approx(8.6e-3 / 0.8 / 0.5, rel=0.02)


def test_gpus_that_share_a_worker_share_its_work_and_pay_for_sums() -> None:
    shared = replace(A10G, gpus=4, link=20e9, latency=30e-6)
    # Weights, keys and values are read four times as fast; 64 sums of 30 us come on top.
    sums = 64 * (30e-6 + 1.5 * 8192 / 20e9)
    assert shared.step_seconds(1, 89) == pytest.approx(A10G.step_seconds(1, 89) / 4 + sums)
    assert shared.dollars_per_hour == 4 * A10G.dollars_per_hour


def test_costs_follow_price_and_rate() -> None:
    for cost in cost_table(64, 50):
        seconds = 1e6 / cost.requests_per_second
        assert cost.dollars_per_million == pytest.approx(seconds / 3600 * cost.dollars_per_hour)


def test_figures_say_that_they_are_computed() -> None:
    assert "not measured" in figures(scenario(), Simulation(scenario()).run())["basis"]


def test_the_command_writes_json_and_a_picture(tmp_path: Path) -> None:
    options = ["--peak", "5", "--minutes", "2", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "step-a100.json").read_text())
    assert f"{content['completed']} completed, 0 rejected" in result.output
    assert (tmp_path / "step-a100.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--trace", "stairs"], "--trace stairs is unknown; known: steady, step"),
        (
            ["--hardware", "tpu"],
            "--hardware tpu is unknown; known: a10g, a10g-single, a100, a100-single, h100",
        ),
        (["--minimum", "9", "--maximum", "3"], "--minimum 9 is above --maximum 3"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert sentence in result.output
