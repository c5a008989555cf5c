"""The recommended target and minimum: the cheapest of those that keep the objective."""

from __future__ import annotations

import json
from dataclasses import replace

from typer.testing import CliRunner

from avikam.cli.simulate import app
from avikam.simulator.autoscaler import ScalingRules
from avikam.simulator.hardware import HARDWARE
from avikam.simulator.recommendation import MINIMA, SHARES, Attempt, attempts, best
from avikam.simulator.simulation import Scenario
from avikam.simulator.traces import Trace


def attempt(p99: float, dollars: float, rejected: float = 0.0) -> Attempt:
    return Attempt(8, 2, p99, rejected, 2, dollars)


def test_the_cheapest_in_time_is_best() -> None:
    late, dear, cheap = attempt(9.0, 1), attempt(0.1, 9), attempt(2.0, 3)
    assert best([late, dear, cheap], 2.5) == cheap
    assert best([late, dear, cheap], 1.0) == dear
    roomy = replace(cheap, target=4)
    assert best([cheap, roomy], 2.5) == roomy


def test_who_turns_clients_away_keeps_nothing() -> None:
    assert best([attempt(0.1, 1, rejected=0.01)], 2.5) is None


def test_more_workers_from_the_start_wait_less_and_cost_more() -> None:
    scenario = Scenario(
        Trace("step", 60, 300), HARDWARE["a10g-single"], ScalingRules(target=1, maximum=8)
    )
    tried = list(attempts(scenario))
    assert len(tried) == len(SHARES) * len(MINIMA)
    assert {one.target for one in tried} == {23, 16, 12, 8}
    few, many = (next(a for a in tried if (a.target, a.minimum) == (23, n)) for n in (2, 8))
    assert many.first_token_p99 < few.first_token_p99
    assert many.dollars > few.dollars


def test_the_command_prints_values_for_the_chart() -> None:
    options = ["--recommend", "--peak", "5", "--minutes", "2", "--hardware", "h100"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "worker: {autoscaling: {minReplicas: 2, targetDemand: " in result.output
    content = json.loads(CliRunner().invoke(app, [*options, "--json"]).output)
    assert content["best"] in content["tried"]


def test_the_command_says_when_nothing_is_in_time() -> None:
    options = ["--recommend", "--peak", "5", "--minutes", "2", "--objective", "0.0001"]
    result = CliRunner().invoke(app, options)
    assert "None keeps 99 % of first tokens within 0.0001 s" in result.output
