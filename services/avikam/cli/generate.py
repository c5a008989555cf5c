"""``avikam generate``: continue one prompt."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Annotated

import typer

from avikam.cli.failure import fail
from avikam.cli.sampling import (
    Adapter,
    ApiKey,
    Json,
    MaxTokens,
    Model,
    Seed,
    Temperature,
    TopK,
    TopP,
    Url,
    given,
    printable,
)

app = typer.Typer(rich_markup_mode=None)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="Text to continue; - reads standard input.")],
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    model: Model = None,
    adapter: Adapter = None,
    as_json: Json = False,
) -> None:
    """Continue a prompt; text goes to standard output, figures to standard error."""
    from avikam.cli.client import Answer, Client, ClientError
    from avikam.cli.embedded import api_key_or_none, gateway_url

    text = sys.stdin.read() if prompt == "-" else prompt
    options = given(
        model=adapter,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
    )
    options |= {"stop": stop} if stop else {}
    with (
        gateway_url(url, model) as address,
        contextlib.closing(Client(address, api_key_or_none(api_key))) as client,
    ):
        answer = Answer()
        try:
            for piece in client.complete(text, options, answer):
                if not as_json:
                    typer.echo(printable(piece), nl=False)
        except ClientError as error:
            fail(str(error))
    if as_json:
        typer.echo(json.dumps(answer.as_json(), ensure_ascii=False))
    else:
        typer.echo()
        typer.echo(answer.summary(), err=True)
