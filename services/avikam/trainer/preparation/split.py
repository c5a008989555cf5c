"""Train, validation and test: 80/10/10 inside every domain, decided by content alone.

A row's side depends on nothing but its own hash (salted with its domain), so the split does not
move when rows are added, removed or read in another order, and whole documents stay together.
"""

from __future__ import annotations

from typing import Literal

from avikam.trainer.preparation.recipe import CorpusRecipe
from avikam.trainer.preparation.rows import Row, digest

Side = Literal["train", "valid", "test"]


def side_of(row: Row, recipe: CorpusRecipe) -> Side:
    """Where a row belongs."""
    place = digest(f"{row.domain}\x1f{row.split_key}") / 2**64
    if place < recipe.test:
        return "test"
    return "valid" if place < recipe.test + recipe.valid else "train"
