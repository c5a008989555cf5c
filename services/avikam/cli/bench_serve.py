"""``avikam bench serve``: what clients of a running server see."""

from __future__ import annotations

import asyncio
import datetime
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avikam.cli.failure import fail

if TYPE_CHECKING:
    from avikam.servebench.run import Plan


def serve(
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    model: Annotated[
        str | None, typer.Option(help="Model to ask for; the server's first one by default.")
    ] = None,
    num_prompts: Annotated[int, typer.Option(min=1, help="Requests to send.")] = 200,
    request_rate: Annotated[
        float, typer.Option(help="Arrivals per second; inf starts all at once.")
    ] = math.inf,
    burstiness: Annotated[
        float, typer.Option(help="1: Poisson arrivals; less: burstier; more: more even.")
    ] = 1.0,
    max_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Most requests at a time; later ones wait for them.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help='File with a prompt, or {"prompt": ...}, per line.')
    ] = None,
    input_words: Annotated[int, typer.Option(min=1, help="Words of a generated prompt.")] = 48,
    output_len: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 50,
    goodput: Annotated[
        list[str] | None,
        typer.Option(help="Limit that a good request keeps, such as ttft:100; may be repeated."),
    ] = None,
    percentiles: Annotated[str, typer.Option(help="Percentiles, by commas.")] = "50,95,99",
    key: Annotated[str | None, typer.Option(envvar="AVIKAM_API_KEY", help="API key.")] = None,
    seed: Annotated[int, typer.Option(help="Of arrivals and prompts.")] = 0,
    out: Annotated[Path, typer.Option(help="JSON to write.")] = Path("build/bench/serve.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time to first token, time per token, latency and goodput of a running server.

    The JSON has the keys of vLLM's serving benchmark. Exit status 1 when a request failed.
    """
    limits, shares = _limits(goodput or []), _shares(percentiles)
    if request_rate <= 0 or burstiness <= 0:
        fail("--request-rate and --burstiness must be above 0")
    from avikam.servebench.figures import details, figures
    from avikam.servebench.run import Plan, run

    plan = Plan(
        url=url.rstrip("/"),
        model=model or _first_model(url, key),
        prompts=_prompts(prompts, num_prompts, input_words, seed),
        max_tokens=output_len,
        rate=request_rate,
        burstiness=burstiness,
        max_concurrency=max_concurrency,
        key=key,
        seed=seed,
    )
    outcomes, seconds = asyncio.run(run(plan))
    found = _settings(plan) | figures(outcomes, seconds, limits, shares)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found | details(outcomes), indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(found, indent=1) if as_json else _table(found, shares, out))
    if found["failed"]:
        error = next(outcome.error for outcome in outcomes if outcome.error)
        typer.echo(f"error: {found['failed']} requests failed, the first: {error}", err=True)
        raise typer.Exit(1)


def _settings(plan: Plan) -> dict[str, Any]:
    """What was asked, as the field's tools record it."""
    return {
        "date": datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S"),
        "backend": "openai",
        "model_id": plan.model,
        "tokenizer_id": plan.model,
        "num_prompts": len(plan.prompts),
        "request_rate": "inf" if math.isinf(plan.rate) else plan.rate,
        "burstiness": plan.burstiness,
        "max_concurrency": plan.max_concurrency,
    }


def _limits(texts: Sequence[str]) -> dict[str, float]:
    """``ttft:100`` and the like, in milliseconds."""
    allowed = ("ttft", "tpot", "e2el")
    limits = {}
    for text in texts:
        name, _, value = text.partition(":")
        if name not in allowed or not value.replace(".", "", 1).isdecimal():
            fail(f"--goodput {text} is not NAME:MILLISECONDS with one of {', '.join(allowed)}")
        limits[name] = float(value)
    return limits


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = [-1.0]
    if not all(0 <= share <= 100 for share in shares):
        fail(f"--percentiles {text} is not a list of numbers from 0 to 100")
    return shares


def _first_model(url: str, key: str | None) -> str:
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{url.rstrip('/')}/v1/models", headers=headers, timeout=10)
        answer.raise_for_status()
        return str(answer.json()["data"][0]["id"])
    except (httpx.HTTPError, IndexError, KeyError, ValueError) as error:
        fail(f"{url} does not list its models: {error}")


def _prompts(file: Path | None, count: int, words: int, seed: int) -> list[str]:
    from avikam.servebench.prompts import generated_prompts, prompts_of

    if file is None:
        return generated_prompts(count, words, random.Random(seed))
    try:
        return prompts_of(file, count)
    except (OSError, ValueError) as error:
        fail(f"--prompts: {error}")


def _table(found: dict[str, Any], shares: Sequence[float], out: Path) -> str:
    names = {
        "ttft": "first token",
        "tpot": "per token after it",
        "itl": "between pieces",
        "e2el": "whole answer",
    }
    rows = [
        f"{found['completed']} answers in {found['duration']:.1f} s, {found['failed']} failed",
        f"{found['request_throughput']:.1f} requests/s, {found['output_throughput']:.0f} tokens/s",
    ]
    if found["request_goodput"] is not None:
        rows.append(f"{found['request_goodput']:.1f} requests/s within the limits")
    columns = ["mean", *(f"p{share:g}" for share in shares)]
    rows.append(f"{'milliseconds':20}" + "".join(f"{column:>10}" for column in columns))
    for metric, name in names.items():
        values = (found[f"{column}_{metric}_ms"] for column in columns)
        rows.append(f"{name:20}" + "".join(f"{value:10.1f}" for value in values))
    return "\n".join([*rows, f"wrote {out}"])
