"""From what a user typed after ``--model`` to a checkpoint folder of ours."""

from __future__ import annotations

from pathlib import Path

from avikam.model.imports.cache import cached_import
from avikam.model.imports.plan import plan_import
from avikam.model.imports.write import Progress
from avikam.model.sources.open_source import is_own_folder, open_source
from avikam.model.weights_file import StoredType


def resolve_model(
    text: str, weights: StoredType = "int8", progress: Progress | None = None
) -> Path:
    """The folder itself, or the import of the source that ``text`` names.

    Raises :class:`~avikam.model.sources.source.SourceError` in one line.
    """
    if is_own_folder(text):
        return Path(text)
    return cached_import(plan_import(open_source(text)), weights, progress)
