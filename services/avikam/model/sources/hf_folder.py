"""A folder as Hugging Face's libraries write it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from avikam.model.sources.safetensors_files import SafetensorsFiles
from avikam.model.sources.sentencepiece_file import tokenizer_json_of_pieces
from avikam.model.sources.source import (
    TOKENIZER_BYTES,
    Origin,
    Source,
    SourceError,
    TokenizerFiles,
    read_bytes,
    read_object,
)

_LICENCE = re.compile(r"^license(?:_name)?:\s*['\"]?([\w .:/+-]{1,80})", re.MULTILINE)
_CARD_CHARS = 64 * 1024


def open_folder(folder: Path, name: str = "", origin: Origin | None = None) -> Source:
    """Open ``folder``; ``origin`` says where it really comes from, if not from this disk."""
    if not (folder / "config.json").is_file():
        raise SourceError(f"{folder} has no config.json; it is no model's folder")
    config = read_object(folder / "config.json")
    where = origin or Origin("folder", str(folder))
    return Source(
        name=name or folder.resolve().name,
        origin=Origin(where.kind, where.location, where.revision, _licence(folder), ""),
        config=config,
        tensors=SafetensorsFiles(folder),
        tokenizer=tokenizer_of(folder),
        generation=_optional(folder / "generation_config.json"),
    )


def tokenizer_of(folder: Path) -> TokenizerFiles:
    """``tokenizer.json``, else ``tokenizer.model`` rewritten as one, and the words around it."""
    words = _optional(folder / "tokenizer_config.json")
    if (folder / "chat_template.jinja").is_file():
        text = read_bytes(folder / "chat_template.jinja", TOKENIZER_BYTES)
        words["chat_template"] = text.decode("utf-8", "replace")
    elif (folder / "chat_template.json").is_file():
        words["chat_template"] = _optional(folder / "chat_template.json").get("chat_template")
    if (folder / "tokenizer.json").is_file():
        return TokenizerFiles(read_bytes(folder / "tokenizer.json", TOKENIZER_BYTES), words)
    if (folder / "tokenizer.model").is_file():
        data = read_bytes(folder / "tokenizer.model", TOKENIZER_BYTES)
        return TokenizerFiles(tokenizer_json_of_pieces(data, words), words)
    raise SourceError(f"{folder} has neither tokenizer.json nor tokenizer.model")


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _licence(folder: Path) -> str:
    """What the model's README says in its head."""
    readme = folder / "README.md"
    if not readme.is_file():
        return ""
    with readme.open(encoding="utf-8", errors="replace") as file:
        found = _LICENCE.search(file.read(_CARD_CHARS))
    return found[1].strip() if found else ""
