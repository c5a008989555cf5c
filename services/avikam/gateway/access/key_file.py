"""The key file: YAML that holds hashes of keys, read by gateways and written by ``avikam keys``.

keys:
  - id: default
    sha256: 8d0b…
    tenant: default
    scopes: [infer, metrics]
    priority: 0                     # optional, -10 to 10: waits behind all with a lower one
    requests_per_minute: 600        # optional, as are tokens_per_minute and concurrent_requests
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from avikam.gateway.access.keys import Key


class KeyFileError(Exception):
    """The key file cannot be used; the message is one line and holds no key and no hash."""


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    keys: tuple[Key, ...]


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file. Raises :class:`KeyFileError`."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        # The parser's own words quote the file.
        raise KeyFileError(f"the key file {path} is not YAML") from None
    try:
        keys = _Content.model_validate(content).keys
    except ValidationError as error:
        raise KeyFileError(f"the key file {path} is wrong: {_first(error)}") from None
    twice = [key_id for key_id, count in Counter(key.id for key in keys).items() if count > 1]
    if twice:
        raise KeyFileError(f"the key file {path} has the id {twice[0]} twice")
    return keys


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file in one step, readable by its owner only. Raises OSError."""
    content = {"keys": [key.model_dump(mode="json", exclude_none=True) for key in keys]}
    # mkstemp makes files of mode 0600.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yaml.safe_dump(content, file, sort_keys=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "the file"
    return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
