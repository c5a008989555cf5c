"""Finding copies: exact ones by content, near ones by MinHash (Broder 1997, datasketch)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from datasketch import MinHash, MinHashLSH

from avikam.trainer.preparation.cleaning import key_of
from avikam.trainer.preparation.recipe import CorpusRecipe
from avikam.trainer.preparation.rows import Row, digest

PERMUTATIONS = 64
_SHINGLE = 3


def without_duplicates(
    rows: Iterable[Row], recipe: CorpusRecipe, dropped: Counter[str]
) -> Iterator[Row]:
    """The first of every set of copies."""
    seen: set[int] = set()
    similar = _NearDuplicates(recipe)
    for row in rows:
        key = digest(row.key)
        if key in seen:
            dropped["exact duplicate"] += 1
            continue
        seen.add(key)
        if similar.is_copy(row, key):
            dropped["near duplicate"] += 1
        else:
            yield row


class _NearDuplicates:
    """An index of the longer texts seen so far."""

    def __init__(self, recipe: CorpusRecipe) -> None:
        self._words = recipe.near_duplicate_words
        self._index = None
        if recipe.near_duplicates > 0:
            self._index = MinHashLSH(threshold=recipe.near_duplicates, num_perm=PERMUTATIONS)

    def is_copy(self, row: Row, key: int) -> bool:
        """Whether a similar row came before; if not, this one is remembered."""
        words = key_of(" ".join(row.parts)).split()
        if self._index is None or len(words) < self._words:
            return False
        sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch(
            [" ".join(words[i : i + _SHINGLE]).encode() for i in range(len(words) - _SHINGLE + 1)]
        )
        if self._index.query(sketch):
            return True
        self._index.insert(key, sketch)
        return False
