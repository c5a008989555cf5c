"""What an evaluation measures and how."""

from __future__ import annotations

from avikam.trainer.recipe import recipe

TASKS = (
    "perplexity",
    "translation",
    "public-translation",
    "faithfulness",
    "conversation",
    "refusal",
    "reading",
    "quiz",
    "logic",
    "quiz-plain",
    "logic-plain",
    "arithmetic",
    "word-problems",
    "regional",
    "memory",
)


@recipe
class EvalRecipe:
    """One evaluation; everything that may change a figure is here and is written beside it.

    ``limit`` caps the items of each set (0 = all). ``context`` is the most tokens a perplexity
    is conditioned on; ``perplexity_tokens`` caps the tokens of each domain. ``to_english`` and
    ``to_french`` are the requests a sentence is put into. ``conversation_pairs`` is how many
    everyday sentences are translated in each setting of a conversation.
    """

    tasks: tuple[str, ...] = TASKS
    limit: int = 0
    batch: int = 64
    context: int = 256
    perplexity_tokens: int = 10_000
    conversation_pairs: int = 200
    to_english: str = "Traduis en anglais : {s}"
    to_french: str = "Translate into French: {s}"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.tasks) - set(TASKS))
        if unknown:
            raise ValueError(f"unknown task {unknown[0]!r}; known: {', '.join(TASKS)}")
