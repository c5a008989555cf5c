"""``avikam simulate``: what autoscaling would do with a traffic trace, in virtual time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from avikam.cli.failure import fail
from avikam.simulator.autoscaler import ScalingRules
from avikam.simulator.hardware import HARDWARE
from avikam.simulator.traces import SHAPES, Trace

app = typer.Typer(rich_markup_mode=None)


@app.command()
def simulate(
    trace: Annotated[str, typer.Option(help=", ".join(SHAPES))] = "step",
    peak: Annotated[float, typer.Option(min=0.1, help="Most requests per second.")] = 100.0,
    minutes: Annotated[float, typer.Option(min=1, help="Length of the trace.")] = 30.0,
    hardware: Annotated[str, typer.Option(help=", ".join(HARDWARE))] = "a100",
    minimum: Annotated[int, typer.Option(min=1, help="Fewest workers.")] = 2,
    maximum: Annotated[int, typer.Option(min=1, help="Most workers.")] = 32,
    target: Annotated[
        int, typer.Option(help="Demand per worker to aim at; 0 means 35 % of the slots.")
    ] = 0,
    prompt: Annotated[int, typer.Option(min=1, help="Tokens of a prompt.")] = 64,
    answer: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for JSON and PNG.")] = Path("build/simulate"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulate the autoscaler, routing and admission on computed service times."""
    if trace not in SHAPES:
        fail(f"--trace {trace} is unknown; known: {', '.join(SHAPES)}")
    if hardware not in HARDWARE:
        fail(f"--hardware {hardware} is unknown; known: {', '.join(HARDWARE)}")
    if minimum > maximum:
        fail(f"--minimum {minimum} is above --maximum {maximum}")
    from avikam.simulator.report import figures, write
    from avikam.simulator.simulation import Scenario, Simulation

    gpu = HARDWARE[hardware]
    scenario = Scenario(
        Trace(trace, peak, minutes * 60),
        gpu,
        ScalingRules(target or math.ceil(0.35 * gpu.slots), minimum, maximum),
        prompt,
        answer,
        seed=seed,
    )
    content = figures(scenario, Simulation(scenario).run())
    files = write(out, content)
    typer.echo(json.dumps(content, indent=1) if as_json else _summary(content, files))


def _summary(content: dict[str, Any], files: tuple[Path, Path]) -> str:
    from avikam.simulator.report import cost_table

    first, replicas = content["time_to_first_token_seconds"], content["replicas"]
    trace = content["trace"]
    lines = [
        "Computed from the roofline, not measured.",
        f"requests    {content['completed']} completed, {content['rejected']} rejected",
        f"first token p50 {_seconds(first['p50'])}, p95 {_seconds(first['p95'])}, "
        f"p99 {_seconds(first['p99'])}",
        f"workers     {replicas['most_used']} at most, of {replicas['maximum']}",
        f"GPUs        {content['gpu_hours']:.1f} hours, {content['dollars']:.2f} dollars",
        "",
        f"A million requests of {trace['prompt_tokens']} + {trace['answer_tokens']} tokens, busy:",
    ]
    lines += [
        f"  {cost.workers} x {cost.hardware:<12} {cost.requests_per_second:6.0f} requests/s  "
        f"{cost.dollars_per_million:6.2f} dollars"
        for cost in cost_table(trace["prompt_tokens"], trace["answer_tokens"])
    ]
    return "\n".join([*lines, "", *(f"wrote {file}" for file in files)])


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"
