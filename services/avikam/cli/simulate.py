"""``avikam simulate``: what autoscaling would do with a traffic trace, in virtual time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avikam.cli.failure import fail
from avikam.simulator.autoscaler import ScalingRules
from avikam.simulator.hardware import HARDWARE, Hardware
from avikam.simulator.traces import SHAPES, Trace

if TYPE_CHECKING:
    from avikam.simulator.simulation import Scenario

app = typer.Typer(rich_markup_mode=None)


@app.command()
def simulate(
    trace: Annotated[str, typer.Option(help=", ".join(SHAPES))] = "step",
    peak: Annotated[float, typer.Option(min=0.1, help="Most requests per second.")] = 100.0,
    minutes: Annotated[float, typer.Option(min=1, help="Length of the trace.")] = 30.0,
    hardware: Annotated[str, typer.Option(help=", ".join(HARDWARE))] = "a100",
    measured: Annotated[
        Path | None,
        typer.Option(help="JSON of `avikam bench engine`: its times, not computed ones."),
    ] = None,
    minimum: Annotated[int, typer.Option(min=1, help="Fewest workers.")] = 2,
    maximum: Annotated[int, typer.Option(min=1, help="Most workers.")] = 32,
    target: Annotated[
        int, typer.Option(help="Demand per worker to aim at; 0 means 35 % of the slots.")
    ] = 0,
    prompt: Annotated[int, typer.Option(min=1, help="Tokens of a prompt.")] = 64,
    answer: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 0,
    recommend: Annotated[
        bool, typer.Option(help="Try targets and minima; print the cheapest in time.")
    ] = False,
    objective: Annotated[
        float, typer.Option(help="With --recommend: 99 % of first tokens within so many seconds.")
    ] = 2.5,
    out: Annotated[Path, typer.Option(help="Folder for JSON and PNG.")] = Path("build/simulate"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulate the autoscaler, routing and admission on computed or measured service times."""
    if trace not in SHAPES:
        fail(f"--trace {trace} is unknown; known: {', '.join(SHAPES)}")
    if minimum > maximum:
        fail(f"--minimum {minimum} is above --maximum {maximum}")
    from avikam.simulator.simulation import Scenario

    worker = _worker(hardware, measured)
    rules = ScalingRules(target or math.ceil(0.35 * worker.slots), minimum, maximum)
    scenario = Scenario(Trace(trace, peak, minutes * 60), worker, rules, prompt, answer, seed=seed)
    if recommend:
        _recommend(scenario, objective, as_json)
    else:
        _run(scenario, out, as_json)


def _worker(name: str, measurement: Path | None) -> Hardware:
    if name not in HARDWARE:
        fail(f"--hardware {name} is unknown; known: {', '.join(HARDWARE)}")
    if measurement is None:
        return HARDWARE[name]
    from avikam.simulator.measured import MeasurementError, measured

    try:
        return measured(HARDWARE[name], measurement)
    except MeasurementError as error:
        fail(f"--measured: {error}")


def _run(scenario: Scenario, out: Path, as_json: bool) -> None:
    from avikam.simulator.report import figures, write
    from avikam.simulator.simulation import Simulation

    content = figures(scenario, Simulation(scenario).run())
    files = write(out, content)
    typer.echo(json.dumps(content, indent=1) if as_json else _summary(content, files))


def _summary(content: dict[str, Any], files: tuple[Path, Path]) -> str:
    from avikam.simulator.report import cost_table

    first, replicas = content["time_to_first_token_seconds"], content["replicas"]
    trace = content["trace"]
    lines = [
        f"{content['basis'].capitalize()}.",
        f"requests    {content['completed']} completed, {content['rejected']} rejected",
        f"first token p50 {_seconds(first['p50'])}, p95 {_seconds(first['p95'])}, "
        f"p99 {_seconds(first['p99'])}",
        f"workers     {replicas['most_used']} at most, of {replicas['maximum']}; {_need(replicas)}",
        f"GPUs        {content['gpu_hours']:.1f} hours, {content['dollars']:.2f} dollars",
        "",
        f"A million requests of {trace['prompt_tokens']} + {trace['answer_tokens']} tokens, busy, "
        "computed:",
    ]
    lines += [
        f"  {cost.workers} x {cost.hardware:<12} {cost.requests_per_second:6.0f} requests/s  "
        f"{cost.dollars_per_million:6.2f} dollars"
        for cost in cost_table(trace["prompt_tokens"], trace["answer_tokens"])
    ]
    return "\n".join([*lines, "", *(f"wrote {file}" for file in files)])


def _need(replicas: dict[str, int]) -> str:
    """What the peak takes, and by how much it is beyond the maximum."""
    needed, excess = replicas["needed_at_peak"], replicas["needed_at_peak"] - replicas["maximum"]
    return f"the peak fills {needed}" + (f", {excess} too many" if excess > 0 else "")


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"


def _recommend(scenario: Scenario, objective: float, as_json: bool) -> None:
    from dataclasses import asdict

    from avikam.simulator.recommendation import attempts, best

    tried = list(attempts(scenario))
    chosen = best(tried, objective)
    if as_json:
        rows = [asdict(one) for one in tried]
        typer.echo(json.dumps({"best": chosen and asdict(chosen), "tried": rows}, indent=1))
        return
    typer.echo("target  minimum  first token p99  rejected  most workers  dollars")
    for one in tried:
        typer.echo(
            f"{one.target:6}  {one.minimum:7}  {one.first_token_p99:13.3f} s  "
            f"{one.rejected_share:8.1%}  {one.most_workers:12}  {one.dollars:7.2f}"
        )
    if chosen is None:
        typer.echo(f"None keeps 99 % of first tokens within {objective:g} s and rejects nobody.")
        return
    typer.echo(f"{scenario.hardware.basis.capitalize()}. The cheapest in time:")
    typer.echo(
        f"worker: {{autoscaling: {{minReplicas: {chosen.minimum}, targetDemand: {chosen.target}}}}}"
    )
