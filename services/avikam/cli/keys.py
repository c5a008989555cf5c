"""``avikam keys``: make, list and revoke API keys in a gateway's key file.

Running gateways follow the file; nothing needs a restart.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avikam.cli.failure import fail

if TYPE_CHECKING:
    from avikam.gateway.access.keys import Key

app = typer.Typer(
    help="Make, list and revoke API keys.", rich_markup_mode=None, no_args_is_help=True
)

KeyFile = Annotated[
    Path,
    typer.Option(
        "--file", envvar="AVIKAM_GATEWAY__KEYS", help="Key file, the gateway's setting keys."
    ),
]
KeyId = Annotated[str, typer.Argument(help="Name of the key: letters, digits, dots and dashes.")]
_DEFAULT_FILE = Path("keys.yaml")


@app.command()
def add(
    key_id: KeyId,
    file: KeyFile = _DEFAULT_FILE,
    tenant: Annotated[str | None, typer.Option(help="Whose key it is; default: the id.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="infer, metrics or admin (everything); repeat for several."),
    ] = None,
    priority: Annotated[
        int, typer.Option(help="-10 to 10; where requests wait, lower numbers go first.")
    ] = 0,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Limit of this key alone; default: its tenant's.")
    ] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="The same for tokens.")] = None,
    concurrent_requests: Annotated[
        int | None, typer.Option(help="The same for requests that run at once.")
    ] = None,
) -> None:
    """Make a key. It is printed once, and only its hash is kept."""
    from pydantic import ValidationError

    from avikam.gateway.access.keys import Key, digest, new_secret

    keys = _read(file) if file.exists() else []
    if any(key.id == key_id for key in keys):
        fail(f"there is a key {key_id} in {file}; revoke it first or choose another id")
    secret = new_secret(key_id)
    entry = {
        "id": key_id,
        "sha256": digest(secret),
        "tenant": tenant or key_id,
        "scopes": scope or ["infer"],
        "priority": priority,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent_requests": concurrent_requests,
    }
    try:
        key = Key.model_validate(entry)
    except ValidationError as error:
        fail(*(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors()))
    _write(file, [*keys, key])
    typer.echo(secret)
    typer.echo(f"{file} has the hash; this is the only time that the key is shown.", err=True)


@app.command("list")
def list_keys(file: KeyFile = _DEFAULT_FILE) -> None:
    """List the keys: id, tenant, scopes."""
    for key in _read(file):
        typer.echo(f"{key.id}\t{key.tenant}\t{','.join(key.scopes)}")


@app.command()
def revoke(key_id: KeyId, file: KeyFile = _DEFAULT_FILE) -> None:
    """Remove a key; gateways refuse it within a second."""
    keys = _read(file)
    kept = [key for key in keys if key.id != key_id]
    if len(kept) == len(keys):
        fail(f"there is no key {key_id} in {file}; avikam keys list shows them")
    _write(file, kept)
    typer.echo(f"revoked {key_id}", err=True)


def _read(file: Path) -> list[Key]:
    from avikam.gateway.access.key_file import KeyFileError, read_keys

    try:
        return list(read_keys(file))
    except KeyFileError as error:
        fail(str(error))


def _write(file: Path, keys: list[Key]) -> None:
    from avikam.gateway.access.key_file import write_keys

    try:
        write_keys(file, keys)
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}")
