"""Writing an import: tensor by tensor, the manifest last, then the folder moves into place."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from avikam.model.checkpoint import CARD, GENERATION, ORIGIN
from avikam.model.families.recipes import Recipe
from avikam.model.imports.card import card_of
from avikam.model.imports.plan import ImportPlan
from avikam.model.manifest import (
    CONFIG,
    TOKENIZER_JSON,
    TOKENIZER_WORDS,
    WEIGHTS,
    write_manifest,
)
from avikam.model.quantize import quantize_rows
from avikam.model.sources.source import Source, SourceError
from avikam.model.weights_file import TYPES, StoredType, layout_of, vector_type, write_tensors

Progress = Callable[[int, int], None]
"""(tensors written, all tensors)."""


def write_import(
    plan: ImportPlan, out: Path, weights: StoredType, progress: Progress | None = None
) -> None:
    """Write ``out``, which must not exist yet. Raises :class:`SourceError`, and leaves nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SourceError(f"{out} exists already; choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _fill(plan, draft, weights, progress)
        draft.chmod(0o755)
        if out.exists():
            out.rmdir()
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _fill(plan: ImportPlan, folder: Path, weights: StoredType, progress: Progress | None) -> None:
    config, origin = plan.config, asdict(plan.source.origin)
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")
    (folder / TOKENIZER_JSON).write_bytes(plan.source.tokenizer.data)
    (folder / TOKENIZER_WORDS).write_text(plan.words.to_json(), encoding="utf-8")
    (folder / GENERATION).write_text(json.dumps(plan.generation, indent=2) + "\n", encoding="utf-8")
    (folder / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card_of(plan, weights), encoding="utf-8")
    if plan.also_head:
        _check_tied(plan.source)
    dtype = TYPES[weights]
    layout = layout_of(config, dtype)
    write_tensors(folder / WEIGHTS, layout, _stored(plan, list(layout), dtype, progress))
    write_manifest(folder)


def _stored(
    plan: ImportPlan, names: list[str], dtype: torch.dtype, progress: Progress | None
) -> Iterator[Tensor]:
    """Tensors in the layout's order; an int8 matrix is followed by its scales."""
    wanted = [name for name in names if name in plan.family.recipes]
    for count, name in enumerate(wanted, start=1):
        tensor = _made(plan.source, plan.family.recipes[name])
        if tensor.dim() == 2 and dtype is torch.int8:
            yield from quantize_rows(tensor)
        else:
            yield tensor.to(dtype if tensor.dim() == 2 else vector_type(dtype))
        if progress is not None:
            progress(count, len(wanted))


def _made(source: Source, recipe: Recipe) -> Tensor:
    parts = []
    for name in recipe.sources:
        tensor = source.tensors.read(name).float()
        if not bool(torch.isfinite(tensor).all()):
            raise SourceError(f"the tensor {name} holds NaN or infinite numbers")
        parts.append(tensor)
    return recipe.make(parts)


def _check_tied(source: Source) -> None:
    head, embed = (
        source.tensors.read(name) for name in ("lm_head.weight", "model.embed_tokens.weight")
    )
    if not torch.equal(head, embed):
        raise SourceError(
            "lm_head.weight differs from the embeddings, although tie_word_embeddings says they "
            "are one"
        )
