"""The command ``avikam``: a table of commands, each imported only when it runs.

``avikam --help`` answers in a fraction of a second because this file imports typer and nothing
else; torch, gRPC and the web framework are loaded by the command that needs them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import avikam

# name: (module with a typer `app`, one line for --help)
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("avikam.cli.serve", "Start a gateway and workers on this machine."),
    "gateway": ("avikam.cli.gateway", "Run one gateway in the foreground."),
    "worker": ("avikam.cli.worker", "Run one worker in the foreground."),
    "generate": ("avikam.cli.generate", "Continue a prompt."),
    "chat": ("avikam.cli.chat", "Talk with the model in the terminal."),
    "simulate": ("avikam.cli.simulate", "Show how a cluster would scale with traffic."),
    "model": ("avikam.cli.model", "Show, verify or create checkpoints."),
    "train": ("avikam.cli.train", "Make a model: corpus, tokenizer, training, export."),
    "eval": ("avikam.cli.eval", "Measure a model."),
    "bench": ("avikam.cli.bench", "Measure this machine."),
    "kv": ("avikam.cli.kv", "Look into cold KV blocks."),
    "config": ("avikam.cli.config", "Show or check settings and where they come from."),
    "keys": ("avikam.cli.keys", "Make, list and revoke API keys."),
    "preflight": ("avikam.cli.preflight", "Check a cluster before production."),
    "report": ("avikam.cli.report", "Keep a release's figures and configuration in MLflow."),
    "backup": ("avikam.cli.backup", "Write weights, adapters and keys to an archive."),
    "restore": ("avikam.cli.restore", "Check and unpack such an archive."),
    "doctor": ("avikam.cli.doctor", "Say what this machine can run and what is missing."),
    "version": ("avikam.cli.version", "Print the versions of Avikam and what it stands on."),
}
# What the base install leaves out, and the extra that has it.
_EXTRAS = {
    **dict.fromkeys(
        ("jinja2", "numpy", "safetensors", "sentencepiece", "tokenizers", "torch"), "avikam[worker]"
    ),
    **dict.fromkeys(("matplotlib", "mlflow", "sacrebleu"), "avikam[train]"),
}
_COMPLETION = {"install_completion", "show_completion"}


class LazyCommands(Mapping[str, Any]):
    """Commands by name; a command's module is imported when the command is looked up."""

    def __getitem__(self, name: str) -> Any:
        command = typer.main.get_command(import_module(COMMANDS[name][0]).app)
        command.name = name
        # Completion is installed once, for the whole program.
        command.params = [param for param in command.params if param.name not in _COMPLETION]
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """A group whose help needs no command's module."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands()  # type: ignore[assignment]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"avikam {avikam.__version__}")
        raise typer.Exit


@app.callback()
def avikam_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Serve Avikam1, a bilingual French/English language model."""


def main() -> None:
    """Entry point of the ``avikam`` program."""
    # gRPC's core writes lines of its own to standard error, past every logger.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        app(prog_name="avikam")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        typer.echo(f"error: {error.name} is not installed: pip install '{extra}'", err=True)
        raise SystemExit(2) from None
