"""``avikam preflight``: the checklist before production, as a command."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
import yaml

from avikam.cli.failure import fail
from avikam.operations.findings import Finding, Verdict, broken, good

app = typer.Typer(rich_markup_mode=None)

_MARKS = {Verdict.GOOD: "ok", Verdict.WARNED: "!!", Verdict.BROKEN: "XX"}


@app.command()
def preflight(
    url: Annotated[str | None, typer.Option(help="Address of a running gateway.")] = None,
    manifests: Annotated[
        str | None, typer.Option(metavar="FILE", help="Output of helm template; - reads it here.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Checkpoint folder that is served.")] = None,
    backup: Annotated[Path | None, typer.Option(help="Archive of avikam backup.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="Requests of the load check.")] = 40,
    concurrency: Annotated[int, typer.Option(min=1, help="Of them at a time.")] = 8,
    first_token_ms: Annotated[
        float, typer.Option(help="What 99 % of first tokens may take under it.")
    ] = 2500.0,
    key: Annotated[str | None, typer.Option(envvar="AVIKAM_API_KEY", help="API key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check load, fallback, security and the backup of weights before production.

    Exit status 0 when nothing is broken; warnings (!!) are for you to judge.
    """
    if url is None and manifests is None and backup is None:
        fail("there is nothing to check: name --url, --manifests or --backup")
    found: list[Finding] = []
    if manifests is not None:
        found += _judge_manifests(manifests)
    if url is not None:
        found += _judge_running(url, key, requests, concurrency, first_token_ms)
    found += _judge_backup(model, backup)
    healthy = all(finding.verdict is not Verdict.BROKEN for finding in found)
    _show(found, healthy, as_json)
    raise typer.Exit(0 if healthy else 1)


def _judge_manifests(source: str) -> Iterator[Finding]:
    from avikam.operations.preflight import judge_manifests

    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        resources = [each for each in yaml.safe_load_all(text) if isinstance(each, dict)]
    except (OSError, yaml.YAMLError) as error:
        fail(f"cannot read {source}: {' '.join(str(error).split())}")
    return judge_manifests(resources)


def _judge_running(
    url: str, key: str | None, requests: int, concurrency: int, first_token_ms: float
) -> list[Finding]:
    import httpx

    from avikam.operations.live_checks import LiveChecks

    try:
        return asyncio.run(LiveChecks(url, key, requests, concurrency, first_token_ms).run())
    except httpx.HTTPError as error:
        return [broken("readiness", f"{url} does not answer: {error}", "start it first")]


def _judge_backup(model: Path | None, backup: Path | None) -> Iterator[Finding]:
    """Whether the archive is whole, and of the very weights that are served."""
    from avikam.model.manifest import MANIFEST, WEIGHTS, sha256
    from avikam.operations.backup import BackupError, check_backup

    remedy = "avikam backup FILE --model FOLDER --keys FILE"
    if backup is None:
        yield broken("weight backup", "none was named", f"{remedy}, then name it with --backup")
        return
    try:
        sums = check_backup(backup)
    except (BackupError, OSError) as error:
        yield broken("weight backup", str(error), remedy)
        return
    if f"model/{WEIGHTS}" not in sums:
        yield broken("weight backup", f"{backup} holds no weights", remedy)
    elif model is not None and sums.get(f"model/{MANIFEST}") != sha256(model / MANIFEST):
        yield broken("weight backup", f"{backup} holds another model than {model}", remedy)
    else:
        yield good("weight backup", f"{backup} is whole")


def _show(found: list[Finding], healthy: bool, as_json: bool) -> None:
    if as_json:
        content = {"healthy": healthy, "findings": [finding.as_json() for finding in found]}
        typer.echo(json.dumps(content, indent=1))
        return
    for finding in found:
        typer.echo(f"{_MARKS[finding.verdict]}  {finding.name:30} {finding.detail}")
        if finding.remedy:
            typer.echo(f"    {'':30} -> {finding.remedy}")
    typer.echo("\nReady for production." if healthy else "\nNot ready for production.")
