"""What a model needs of a machine: printed by ``avikam model show``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from avikam.cli.failure import fail

if TYPE_CHECKING:
    from avikam.model.config import ModelConfig


def source_plan(source: str, slots: int) -> dict[str, Any]:
    """What an import of a source would give, from its headers alone."""
    from avikam.model.imports.plan import plan_import
    from avikam.model.sources.open_source import open_source
    from avikam.model.sources.source import SourceError

    try:
        plan = plan_import(open_source(source))
    except (SourceError, OSError) as error:
        fail(f"model {source}: {error}")
    origin = plan.source.origin
    return {
        "name": plan.config.name,
        "architecture": plan.source.config["architectures"][0],
        "parameters": plan.config.parameter_count(),
        "licence": origin.licence or "unknown",
        "revision": origin.revision or "unknown",
        "quantised at the source": origin.quantisation or "no",
        "end tokens": list(plan.words.end_ids),
        "chat template": bool(plan.words.chat_template),
        **memory_plan(plan.config, "int8", slots),
    }


def memory_plan(config: ModelConfig, weights: str, slots: int) -> dict[str, Any]:
    """Bytes of weights, of keys and values per token and per slot, and how steps run on a CPU."""
    from avikam.model.backends import Backend
    from avikam.model.weights_file import TYPES, bytes_of, layout_of

    kind: Any = weights if weights in TYPES else "bfloat16"
    backend = Backend(kind)
    each, fixed = backend.bytes_per_token(config), backend.fixed_bytes(config)
    return {
        "weights": kind,
        "bytes of weights": bytes_of(layout_of(config, TYPES[kind])),
        "bytes per token": each,
        "bytes per slot": fixed + each * config.max_positions,
        f"bytes of {slots} slots": slots * (fixed + each * config.max_positions),
        "longest context": config.max_positions,
        "runs natively": backend.native_problem(config) or True,
    }


def print_plan(plan: dict[str, Any], as_json: bool) -> None:
    """As JSON, or a line for each number."""
    if as_json:
        typer.echo(json.dumps(plan, indent=2))
        return
    for name, value in plan.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        typer.echo(f"{name:24} {shown}")
