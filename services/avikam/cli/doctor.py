"""``avikam doctor``: what this machine can run, what is missing, and how to get it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from avikam.cli.checkup import examine
from avikam.operations.findings import Finding, Verdict

app = typer.Typer(rich_markup_mode=None)

_MARKS = {Verdict.GOOD: "ok", Verdict.ABSENT: "--", Verdict.BROKEN: "XX"}


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this machine can run and what is missing.

    Exit status 0 when it can serve a model, 1 when something needed is broken or missing.
    """
    findings = list(examine())
    healthy = all(finding.verdict is not Verdict.BROKEN for finding in findings)
    if as_json:
        typer.echo(json.dumps({"healthy": healthy, "findings": [f.as_json() for f in findings]}))
    else:
        for finding in findings:
            typer.echo(_line(finding))
        typer.echo("\nThis machine can serve." if healthy else "\nThis machine cannot serve yet.")
    raise typer.Exit(0 if healthy else 1)


def _line(finding: Finding) -> str:
    line = f"{_MARKS[finding.verdict]}  {finding.name:14} {finding.detail}"
    return f"{line}\n    {'':14} -> {finding.remedy}" if finding.remedy else line
