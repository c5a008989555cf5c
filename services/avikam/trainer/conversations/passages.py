"""Several sentences in one request, and short mails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avikam.trainer.conversations.chance import happens, one_of
from avikam.trainer.conversations.phrasebook import Phrasebook
from avikam.trainer.conversations.slots import fill_slots, slot_values
from avikam.trainer.examples import Pair

_MAIL = 0.3


def passage(
    rng: np.random.Generator, first: Pair, pool: Sequence[Pair], phrases: Phrasebook
) -> Pair:
    """``first`` and one to three other pairs as one text, three in ten of them as a mail."""
    pairs = [first] + [one_of(rng, pool) for _ in range(int(rng.integers(1, 4)))]
    if happens(rng, _MAIL):
        return _mail(rng, pairs, phrases)
    between = "\n" if happens(rng, 0.2) else " "
    return _joined(pairs, between)


def _joined(pairs: Sequence[Pair], between: str) -> Pair:
    return Pair(between.join(p.french for p in pairs), between.join(p.english for p in pairs))


def _mail(rng: np.random.Generator, pairs: list[Pair], phrases: Phrasebook) -> Pair:
    """An opening, the sentences, a closing; in one line or in paragraphs."""
    between = "\n\n" if happens(rng, 0.5) else " "
    opening, closing = (one_of(rng, phrases.mails[part]) for part in ("openings", "closings"))
    written, signed = (slot_values(rng, phrases.names) for _ in range(2))
    first = Pair(fill_slots(opening["fr"], written), fill_slots(opening["en"], written))
    last = Pair(fill_slots(closing["fr"], signed), fill_slots(closing["en"], signed))
    return _joined([first, _joined(pairs, " "), last], between)
