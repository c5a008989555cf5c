"""What goes into a corpus and what is done to it."""

from __future__ import annotations

from avikam.trainer.recipe import recipe


@recipe
class CorpusRecipe:
    """Settings of ``avikam train corpus``.

    ``strip_punctuation`` is the specification's cleaning regex. It is off: French without
    punctuation is no French (*l'eau* becomes *leau*, *est-ce* *estce*, *3,5* *35*), and a model
    that never saw a comma writes none. ``near_duplicates`` is the Jaccard similarity of word
    triples from which a longer text counts as a copy (0 = only exact copies go); texts below
    ``near_duplicate_words`` words are compared exactly, because *Tom is here* and *Tom was here*
    are two sentences. ``valid`` and ``test`` are shares of the rows of each domain.
    """

    strip_punctuation: bool = False
    min_characters: int = 2
    max_characters: int = 4000
    max_length_ratio: float = 4.0
    near_duplicates: float = 0.8
    near_duplicate_words: int = 20
    valid: float = 0.1
    test: float = 0.1
    default_domain: str = "general"

    def __post_init__(self) -> None:
        if not 0 <= self.valid + self.test < 1:
            raise ValueError(f"valid {self.valid} and test {self.test} leave nothing to train on")
