"""Which target and minimum a trace asks for: the cheapest that keeps the objective."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from avikam.simulator.report import quantile
from avikam.simulator.simulation import Scenario, Simulation

SHARES = (0.7, 0.5, 0.35, 0.25)
MINIMA = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One setting of the autoscaler and what came of it. Seconds, dollars."""

    target: int
    minimum: int
    first_token_p99: float
    rejected_share: float
    most_workers: int
    dollars: float

    def keeps(self, objective: float) -> bool:
        """Whether 99 % of first tokens came in time, and nobody was turned away."""
        return self.rejected_share == 0 and self.first_token_p99 <= objective


def attempts(scenario: Scenario) -> Iterator[Attempt]:
    """Every share of the slots with every minimum that the scenario's maximum allows."""
    for share in SHARES:
        for minimum in MINIMA:
            if minimum <= scenario.rules.maximum:
                target = math.ceil(share * scenario.hardware.slots)
                rules = replace(scenario.rules, target=target, minimum=minimum)
                yield attempt(replace(scenario, rules=rules))


def attempt(scenario: Scenario) -> Attempt:
    """One run."""
    outcome = Simulation(scenario).run()
    p99 = quantile(sorted(outcome.first_tokens), 0.99)
    return Attempt(
        target=int(scenario.rules.target),
        minimum=scenario.rules.minimum,
        first_token_p99=math.inf if p99 is None else p99,
        rejected_share=outcome.rejected / max(outcome.arrived, 1),
        most_workers=max(sample.replicas for sample in outcome.samples),
        dollars=outcome.pod_seconds / 3600 * scenario.hardware.dollars_per_hour,
    )


def best(tried: Sequence[Attempt], objective: float) -> Attempt | None:
    """The cheapest that keeps the objective, with most room among equals; None if none does."""
    kept = [one for one in tried if one.keeps(objective)]
    return min(kept, key=lambda one: (one.dollars, one.target), default=None)
