"""Weights in one safetensors file, or in several that an index names.

model.safetensors
model.safetensors.index.json  ->  {"weight_map": {tensor: file}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from avikam.model.sources.source import SourceError, TensorInfo, read_object

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_INDEX_BYTES = 64 * 2**20
_FLOATS = ("F64", "F32", "F16", "BF16")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


class SafetensorsFiles:
    """Tensors by name over all shards. Only headers are read until a tensor is asked for."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        self._infos: dict[str, TensorInfo] = {}
        if (folder / INDEX).is_file():
            self._open_shards(folder)
        elif (folder / WHOLE).is_file():
            self._open(folder / WHOLE, None)
        else:
            raise _nothing_to_read(folder)

    def infos(self) -> Mapping[str, TensorInfo]:
        return self._infos

    def read(self, name: str) -> Tensor:
        path = self._files[name]
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise SourceError(f"{path.name} cannot be read: {error}") from error
        return tensor

    def _open_shards(self, folder: Path) -> None:
        places = _weight_map(read_object(folder / INDEX, _INDEX_BYTES))
        for shard in sorted(set(places.values())):
            if Path(shard).name != shard or shard in (".", ".."):
                raise SourceError(f"{INDEX} names the file {shard[:80]!r} outside the folder")
            if not (folder / shard).is_file():
                raise SourceError(f"{shard} is missing; {INDEX} names it")
            self._open(folder / shard, {name for name, file in places.items() if file == shard})

    def _open(self, path: Path, wanted: set[str] | None) -> None:
        """Read a shard's header; ``wanted`` are the tensors that the index places in it."""
        try:
            with safe_open(path, framework="pt") as file:
                names = set(file.keys())
                for name in sorted(names):
                    part = file.get_slice(name)
                    self._infos[name] = TensorInfo(tuple(part.get_shape()), part.get_dtype())
                    self._files[name] = path
        except (SafetensorError, OSError) as error:
            raise SourceError(f"{path.name} is not a whole safetensors file: {error}") from error
        _check_shard(path.name, names, names if wanted is None else wanted)
        for name in sorted(names):
            _check_floats(name, self._infos[name])


def _weight_map(index: Mapping[str, object]) -> dict[str, str]:
    places = index.get("weight_map")
    texts = isinstance(places, dict) and all(isinstance(file, str) for file in places.values())
    if not isinstance(places, dict) or not texts or not places:
        raise SourceError(f"{INDEX} has no weight_map of tensors and files")
    return places


def _check_shard(file: str, names: set[str], wanted: set[str]) -> None:
    missing, foreign = sorted(wanted - names), sorted(names - wanted)
    if missing:
        raise SourceError(f"{file} lacks the tensor {missing[0]}, which {INDEX} places there")
    if foreign:
        raise SourceError(f"{file} holds the tensor {foreign[0]}, which {INDEX} does not know")


def _check_floats(name: str, info: TensorInfo) -> None:
    if info.dtype not in _FLOATS:
        raise SourceError(
            f"tensor {name} is {info.dtype}, not floats: quantised by another tool, or no weights; "
            "take the unquantised model"
        )


def _nothing_to_read(folder: Path) -> SourceError:
    pickles = sorted(path.name for kind in _PICKLES for path in folder.glob(kind))
    if pickles:
        return SourceError(
            f"only {pickles[0]} is there, a pickle, which may run code when it is read; "
            f"convert it to {WHOLE}"
        )
    return SourceError(f"{folder} holds neither {WHOLE} nor {INDEX}")
