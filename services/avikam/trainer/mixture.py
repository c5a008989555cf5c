"""Where examples come from: named sources, drawn by token share, resumable by cursors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from avikam.trainer.examples import Example

Render = Callable[[int, np.random.Generator], Example]
"""(index, rng) -> the example of that item; templates are drawn afresh in every epoch."""


@dataclass(frozen=True, slots=True)
class Source:
    """``size`` items that ``render`` turns into examples; ``weight`` is a share of tokens."""

    name: str
    size: int
    weight: float
    render: Render


class Mixture:
    """An endless stream of examples that keeps each source at its share of tokens.

    Every source is walked in a fresh seeded order per epoch. The state is one cursor and one
    token count per source, so a resumed stream continues with the very next example.
    """

    def __init__(self, sources: list[Source], seed: int) -> None:
        total = sum(source.weight for source in sources if source.size)
        self._sources = [s for s in sources if s.size and s.weight > 0]
        if not self._sources:
            raise ValueError("the mixture has no source with text; check the corpus path")
        self._share = [s.weight / total for s in self._sources]
        self._seed = seed
        self._cursor = [0] * len(self._sources)
        self._tokens = [0] * len(self._sources)
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def state(self) -> dict[str, list[int]]:
        """What a checkpoint keeps: {source name: [items drawn, tokens drawn]}."""
        rows = zip(self._sources, self._cursor, self._tokens, strict=True)
        return {source.name: [cursor, tokens] for source, cursor, tokens in rows}

    def restore(self, state: Mapping[str, list[int]]) -> None:
        """Continue from :meth:`state`; a source that is new starts at its beginning."""
        for i, source in enumerate(self._sources):
            self._cursor[i], self._tokens[i] = state.get(source.name, [0, 0])

    def __iter__(self) -> Iterator[Example]:
        while True:
            which = int(np.argmin(np.divide(self._tokens, self._share)))
            example = self._draw(which)
            self._tokens[which] += len(example.tokens)
            yield example

    def _draw(self, which: int) -> Example:
        source, cursor = self._sources[which], self._cursor[which]
        self._cursor[which] += 1
        epoch, offset = divmod(cursor, source.size)
        rng = np.random.default_rng((self._seed, which, cursor))
        return source.render(int(self._order(which, epoch)[offset]), rng)

    def _order(self, which: int, epoch: int) -> np.ndarray:
        cached = self._orders.get(which)
        if cached is None or cached[0] != epoch:
            rng = np.random.default_rng((self._seed, which, epoch, 1))
            cached = (epoch, rng.permutation(self._sources[which].size))
            self._orders[which] = cached
        return cached[1]
