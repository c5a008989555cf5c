"""``avikam report``: a release's figures and configuration, kept in MLflow."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
import yaml

from avikam.cli.failure import fail
from avikam.operations.release import figures, parameters
from avikam.operations.scrape import Scrape

app = typer.Typer(rich_markup_mode=None)


@app.command()
def report(
    release: Annotated[str, typer.Argument(help="Name of the release, such as v0.1.0.")],
    url: Annotated[str, typer.Option(help="A gateway's address.")] = "http://127.0.0.1:8000",
    metrics_url: Annotated[
        str | None, typer.Option(help="Its metrics page; by default /metrics at --url.")
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(help="YAML file that was deployed: settings or chart values; repeatable."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="Watch so long; 0 takes all since the gateway's start.")
    ] = 60.0,
    tracking: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow server, or a folder.")
    ] = "runs/mlflow",
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "avikam-deployments",
    key: Annotated[str | None, typer.Option(envvar="AVIKAM_API_KEY", help="API key.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the JSON.")] = Path("build/report"),
) -> None:
    """Log throughput, error rate, latency and the deployed configuration of a release."""
    from avikam.trainer.tracking import tracked_run

    configuration = _configuration(config or [])
    page = metrics_url or f"{url.rstrip('/')}/metrics"
    with _client(key) as client:
        info = _get(client, f"{url.rstrip('/')}/info").json()
        change, elapsed = _watch(client, page, seconds)
    found = figures(change, elapsed)
    identity = parameters(release, info, configuration)
    file = _write(out, release, {"parameters": identity, "metrics": found})
    with tracked_run(tracking, experiment, release) as run:
        run.parameters(identity)
        run.metrics(found, step=0)
        for path in (file, *(config or [])):
            run.artifact(path)
    for name, value in found.items():
        typer.echo(f"{name:32} {value:12.3f}")
    typer.echo(f"wrote {file}; logged to {tracking}, experiment {experiment}")


def _watch(client: httpx.Client, page: str, seconds: float) -> tuple[Scrape, float]:
    """What happened within ``seconds``, or since the gateway's start, and how long that was."""
    started = time.monotonic()
    first = _scrape(client, page)
    if not seconds:
        return first, _age(first)
    time.sleep(seconds)
    return _scrape(client, page).since(first), time.monotonic() - started


def _age(scrape: Scrape) -> float:
    begun = scrape.total("avikam_gateway_prompt_tokens_created")
    if not begun:
        fail("the metrics page does not say when the gateway started; use --seconds")
    return max(time.time() - begun, 1.0)


def _scrape(client: httpx.Client, page: str) -> Scrape:
    try:
        return Scrape.parse(_get(client, page).text)
    except ValueError as error:
        fail(f"{page} is no metrics page: {error}")


def _client(key: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(headers=headers, timeout=10, trust_env=False)


def _get(client: httpx.Client, url: str) -> httpx.Response:
    try:
        answer = client.get(url)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        fail(f"{url} does not answer: {error}")
    return answer


def _configuration(files: list[Path]) -> dict[str, Any]:
    """Contents of the files, by their names."""
    found = {}
    for file in files:
        try:
            found[file.stem] = yaml.safe_load(file.read_text("utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            fail(f"cannot read {file}: {' '.join(str(error).split())}")
    return found


def _write(folder: Path, release: str, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{release.replace('/', '-')}.json"
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file
