"""A run in figures, a picture of it, and what a million requests cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avikam.simulator.hardware import HARDWARE
from avikam.simulator.simulation import Outcome, Scenario

# The specification's three ways to buy GPUs, as one worker that spans them or as a worker for each.
PURCHASES = (("a10g", 1), ("a10g-single", 4), ("a100", 1), ("a100-single", 2), ("h100", 1))


def figures(scenario: Scenario, outcome: Outcome) -> dict[str, Any]:
    """What a run comes down to. Seconds, requests and dollars; computed, not measured."""
    hardware, waits = scenario.hardware, sorted(outcome.first_tokens)
    hours = outcome.pod_seconds / 3600
    return {
        "basis": hardware.basis,
        "trace": {
            "name": scenario.trace.name,
            "peak_requests_per_second": scenario.trace.peak,
            "seconds": scenario.trace.seconds,
            "prompt_tokens": scenario.prompt,
            "answer_tokens": scenario.answer,
        },
        "hardware": hardware.name,
        "target_demand": scenario.rules.target,
        "replicas": {
            "minimum": scenario.rules.minimum,
            "maximum": scenario.rules.maximum,
            "most_used": max(sample.replicas for sample in outcome.samples),
            "needed_at_peak": hardware.workers_for(
                scenario.trace.peak, scenario.prompt, scenario.answer
            ),
        },
        "arrived": outcome.arrived,
        "completed": outcome.completed,
        "rejected": outcome.rejected,
        "rejected_share": outcome.rejected / max(outcome.arrived, 1),
        "most_demand": max(sample.demand for sample in outcome.samples),
        "time_to_first_token_seconds": {
            f"p{level}": quantile(waits, level / 100) for level in (50, 95, 99)
        },
        "gpu_hours": hours * hardware.gpus,
        "dollars": hours * hardware.dollars_per_hour,
        "dollars_per_million_requests": (
            hours * hardware.dollars_per_hour / outcome.completed * 1e6
            if outcome.completed
            else None
        ),
        "samples": [
            {
                "time": sample.time,
                "rate": sample.rate,
                "demand": sample.demand,
                "ready": sample.ready,
                "replicas": sample.replicas,
            }
            for sample in outcome.samples
        ],
    }


def quantile(ordered: Sequence[float], level: float) -> float | None:
    """Nearest-rank quantile; None of nothing."""
    return ordered[min(int(level * len(ordered)), len(ordered) - 1)] if ordered else None


@dataclass(frozen=True, slots=True)
class Cost:
    """What some workers serve, and what a million requests cost on them when they are busy."""

    hardware: str
    workers: int
    requests_per_second: float
    dollars_per_hour: float

    @property
    def dollars_per_million(self) -> float:
        """At the rate above, around the clock."""
        return self.dollars_per_hour / (self.requests_per_second * 3600) * 1e6


def cost_table(prompt: int, answer: int) -> list[Cost]:
    """One row per purchase."""
    return [
        Cost(
            name,
            workers,
            workers * HARDWARE[name].requests_per_second(prompt, answer),
            workers * HARDWARE[name].dollars_per_hour,
        )
        for name, workers in PURCHASES
    ]


def write(folder: Path, content: dict[str, Any]) -> tuple[Path, Path]:
    """The JSON file and the picture, named after trace and hardware."""
    name = f"{content['trace']['name']}-{content['hardware']}"
    folder.mkdir(parents=True, exist_ok=True)
    figures_file, picture = folder / f"{name}.json", folder / f"{name}.png"
    figures_file.write_text(json.dumps(content, indent=1) + "\n")
    draw(picture, content)
    return figures_file, picture


def draw(path: Path, content: dict[str, Any]) -> None:
    """Traffic, demand and workers over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    samples = content["samples"]
    minutes = [sample["time"] / 60 for sample in samples]
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    traffic, demand, workers = figure.subplots(3, 1, sharex=True)
    traffic.plot(minutes, [sample["rate"] for sample in samples], color="tab:blue")
    traffic.set_ylabel("requests/s")
    demand.plot(minutes, [sample["demand"] for sample in samples], color="tab:orange")
    demand.set_ylabel("held, waiting, running")
    workers.step(minutes, [s["replicas"] for s in samples], where="post", label="wanted")
    workers.step(minutes, [s["ready"] for s in samples], where="post", label="ready")
    workers.set_ylabel("workers")
    workers.set_xlabel("minutes")
    workers.legend()
    figure.suptitle(_title(content))
    figure.savefig(path, dpi=110)


def _title(content: dict[str, Any]) -> str:
    trace, first = content["trace"], content["time_to_first_token_seconds"]
    p99 = "-" if first["p99"] is None else f"{first['p99']:.2f} s"
    return (
        f"{trace['name']} to {trace['peak_requests_per_second']:g} requests/s on "
        f"{content['hardware']}: first token p99 {p99}, "
        f"{content['rejected_share']:.1%} rejected ({content['basis'].split()[0]})"
    )
