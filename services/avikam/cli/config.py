"""``avikam config``: the settings in force, where each comes from, and whether a file is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from avikam.cli.failure import fail
from avikam.cli.flags import ConfigFile
from avikam.cli.sections import settings_classes
from avikam.common.settings import Loaded, Settings, SettingsError, load_with_origins

app = typer.Typer(
    help="Show or check settings and where they come from.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def show(
    config: ConfigFile = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value is from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the settings in force, as a file that --config accepts."""
    loaded = _load_all(config)
    if as_json:
        typer.echo(json.dumps({name: _as_json(part) for name, part in loaded.items()}, indent=2))
        return
    for section, part in loaded.items():
        typer.echo(f"{section}:")
        for name, value in part.settings.model_dump(mode="json").items():
            line = f"  {name}: {_scalar(value)}"
            typer.echo(f"{line:40}  # {part.origins[name]}" if origin else line)


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="YAML file to check.")],
) -> None:
    """Check a configuration file; the environment counts, as it would when serving."""
    _load_all(file)
    typer.echo(f"{file} is valid")


def _load_all(config: Path | None) -> dict[str, Loaded[Settings]]:
    loaded: dict[str, Loaded[Settings]] = {}
    problems: list[str] = []
    for section, cls in settings_classes().items():
        try:
            loaded[section] = load_with_origins(cls, section, config)
        except SettingsError as error:
            problems += error.problems
    if problems:
        # Sections share the file, so its own problems appear once per section.
        fail(*dict.fromkeys(problems))
    return loaded


def _as_json(part: Loaded[Settings]) -> dict[str, Any]:
    values = part.settings.model_dump(mode="json")
    return {
        name: {"value": value, "origin": part.origins[name].source, "name": part.origins[name].name}
        for name, value in values.items()
    }


def _scalar(value: Any) -> str:
    return "off" if value is None else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
