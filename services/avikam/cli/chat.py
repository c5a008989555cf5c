"""``avikam chat``: talk with the model in the terminal.

    you> ...        /new starts afresh, /exit or Ctrl-D ends, Ctrl-C stops an answer

A conversation lives in this process; the gateway gets all of its turns each time.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avikam.cli.sampling import (
    Adapter,
    ApiKey,
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

if TYPE_CHECKING:
    from avikam.cli.client import Client

app = typer.Typer(rich_markup_mode=None)

_HELP = "/new starts afresh, /exit or Ctrl-D ends, Ctrl-C stops an answer"
_COMMAND = re.compile(r"/\w+")


@app.command()
def chat(
    system: Annotated[str | None, typer.Option(help="Instruction before the first turn.")] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    url: Url = None,
    api_key: ApiKey = None,
    model: Model = None,
    adapter: Adapter = None,
) -> None:
    """Talk with the model in the terminal; /new starts afresh, /exit ends."""
    from avikam.cli.client import Client
    from avikam.cli.embedded import api_key_or_none, gateway_url

    options = given(
        model=adapter,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
    )
    with (
        gateway_url(url, model) as address,
        contextlib.closing(Client(address, api_key_or_none(api_key))) as client,
    ):
        Conversation(client, system, options).run()


class Conversation:
    """The turns so far, and the loop that adds to them."""

    def __init__(self, client: Client, system: str | None, options: Mapping[str, Any]) -> None:
        self._client = client
        self._options = options
        self._start = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._start)

    def run(self) -> None:
        """Read turns until the user leaves."""
        prompt = _greet() if sys.stdin.isatty() else ""
        while True:
            try:
                text = input(prompt).strip()
            except (EOFError, KeyboardInterrupt):
                typer.echo()
                return
            if text == "/exit":
                return
            if text == "/new":
                self._messages = list(self._start)
            elif _COMMAND.fullmatch(text):
                typer.echo("" if text == "/help" else f"{text} is no command: ", err=True, nl=False)
                typer.echo(_HELP, err=True)
            elif text:
                self._turn(text)

    def _turn(self, text: str) -> None:
        from avikam.cli.client import Answer, ClientError

        self._messages.append({"role": "user", "content": text})
        answer = Answer()
        try:
            for piece in self._client.chat(self._messages, self._options, answer):
                typer.echo(printable(piece), nl=False)
            typer.echo()
        except KeyboardInterrupt:
            typer.echo(" [stopped]")
        except ClientError as error:
            # The turn did not happen: the user may say it otherwise, or start afresh.
            self._messages.pop()
            way_out = " (/new starts afresh)" if self._messages != self._start else ""
            typer.echo(f"error: {error}{way_out}", err=True)
            return
        typer.echo(f"[{answer.summary()}]", err=True)
        if answer.text:
            self._messages.append({"role": "assistant", "content": answer.text})
        else:
            self._messages.pop()


def _greet() -> str:
    """Tell a person what can be typed, let arrow keys edit it, and return what to ask with."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - input() uses it once it is there
    typer.echo(_HELP, err=True)
    return "you> "
