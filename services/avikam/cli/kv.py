"""``avikam kv``: what a cold block of keys and values says of itself, and whether it is whole."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avikam.cli.failure import fail

if TYPE_CHECKING:
    from avikam.engine.kv.block import BlockHeader

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Look into cold KV blocks.")

_DAMAGED = 1


@app.callback()
def kv() -> None:
    """Look into cold KV blocks."""


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A block: redis-cli --raw get KEY > FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a block's header and layers, and check its seal.

    The seal needs the workers' kv_secret, where they have one, in AVIKAM_WORKER__KV_SECRET or in
    the file that AVIKAM_WORKER__KV_SECRET_FILE names. Exit status 1: the seal does not match.
    """
    from avikam.engine.kv.block import BlockError

    try:
        block, header = _read(file)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except BlockError as error:
        fail(f"{file}: {error}")
    whole = _sealed(block, header)
    facts = _facts(header, len(block)) | {"seal": "matches" if whole else "does not match"}
    typer.echo(json.dumps(facts, indent=2) if as_json else _table(facts))
    if not whole:
        raise typer.Exit(_DAMAGED)


def _read(file: Path) -> tuple[bytes, BlockHeader]:
    """The block in a file, without the line feed that redis-cli puts behind it."""
    from avikam.engine.kv.block import BlockError, read_header

    block = file.read_bytes()
    try:
        return block, read_header(block)
    except BlockError:
        if not block.endswith(b"\n"):
            raise
        return block[:-1], read_header(block[:-1])


def _sealed(block: bytes, header: BlockHeader) -> bool:
    from avikam.engine.kv.block import block_seal
    from avikam.engine.kv.keys import seal_key

    key = seal_key(_secret(), header.key)
    return hmac.compare_digest(block_seal(block, key), header.seal)


def _secret() -> str:
    """The workers' secret, from where a worker takes it."""
    from avikam.common.settings import SettingsError, load
    from avikam.worker.settings import WorkerSettings

    try:
        secret = load(WorkerSettings, "worker").kv_secret
    except SettingsError as error:
        fail(str(error))
    return "" if secret is None else secret.get_secret_value()


def _facts(header: BlockHeader, size: int) -> dict[str, Any]:
    from avikam.engine.kv.codec import CODECS

    names = {codec.number: name for name, codec in CODECS.items()}
    raw = sum(row.raw for row in header.layers)
    stored = sum(row.stored for row in header.layers)
    return {
        "version": header.version,
        "key": header.key.hex(),
        "tokens": header.tokens,
        "form": names.get(header.codec, f"unknown ({header.codec})"),
        "bytes": size,
        "ratio": round(raw / max(1, stored), 3),
        "layers": [
            {"raw": row.raw, "stored": row.stored, "snappy": row.compressed}
            for row in header.layers
        ],
    }


def _table(facts: dict[str, Any]) -> str:
    rows = [f"{name:8} {value}" for name, value in facts.items() if name != "layers"]
    rows += [
        f"layer {i:<3} {row['raw']:>12,} bytes, stored in {row['stored']:,}"
        f"{' by Snappy' if row['snappy'] else ''}"
        for i, row in enumerate(facts["layers"])
    ]
    return "\n".join(rows)
