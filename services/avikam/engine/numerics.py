"""What an answer's numbers depend on besides the request, in one word.

Two engines with the same word give the same tokens for the same request, so that one may go on with
what the other began. The word covers the checkpoint, how its weights are kept, attention, the
device, the ranks that share a sum, PyTorch's build and the code that computes. The levels of the
native library (AVX2, AVX-512, AMX) give the same bits and are not part of it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

import avikam

_CODE = ("model", "engine")
_KINDS = frozenset({".py", ".c", ".h"})
# The engine of tests computes nothing of a model's answer.
_NOT_COMPUTING = "fake"


def numerics(digest: str, weights: str, attention: str, device: str, ranks: int) -> str:
    """The word, 32 hexadecimal digits. ``digest`` is the checkpoint's, ``weights`` the kind that
    they are kept in, ``attention`` the backend's name."""
    parts = [digest, weights, attention, str(ranks), torch.__version__, code_digest()]
    parts += _device_parts(device, exact=weights == "int8" and device == "cpu")
    told = hashlib.sha256()
    for part in parts:
        data = part.encode()
        told.update(len(data).to_bytes(8) + data)
    return told.hexdigest()[:32]


def code_digest(root: Path | None = None) -> str:
    """Of the sources of model and engine below ``root``, the package's folder."""
    folder = root or Path(avikam.__file__).parent
    told = hashlib.sha256()
    for name in _CODE:
        for path in sorted((folder / name).rglob("*")):
            if path.suffix in _KINDS and not path.name.startswith(_NOT_COMPUTING):
                told.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return told.hexdigest()


def _device_parts(device: str, *, exact: bool) -> list[str]:
    """A GPU by its name; a CPU whose sums are in floats by its instructions and threads, for both
    change the order of a sum."""
    if device == "cuda":
        return [torch.cuda.get_device_name(), str(torch.version.cuda)]
    if exact:
        return [device]
    return [device, torch.backends.cpu.get_cpu_capability(), str(torch.get_num_threads())]
