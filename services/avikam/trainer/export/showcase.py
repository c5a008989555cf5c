"""Twenty everyday prompts, answered by the model itself, unedited."""

from __future__ import annotations

from avikam.trainer.evaluation.subject import Subject

PROMPTS = (
    "Traduis en anglais : Où est la gare ?",
    "Translate to French: I am hungry.",
    "Traduis en anglais : Il fait très froid ce matin.",
    "Translate into French: Can you help me, please?",
    "Traduis en anglais : Je voudrais un café, s'il vous plaît.",
    "Translate into French: What time does the train leave?",
    "Traduis en anglais : Ma sœur habite à Montréal depuis deux ans.",
    "Translate into French: We are going to the market tomorrow.",
    "Comment dit-on en anglais : Je ne comprends pas.",
    "Translate into French: Happy birthday!",
    "Traduis en anglais : Combien coûte ce livre ?",
    "Translate into French: The children are playing in the garden.",
    "Bonjour !",
    "Hello, how are you?",
    "Que peux-tu faire ?",
    "What is 12 + 30?",
    "Merci beaucoup !",
    "Quel temps fera-t-il demain ?",
    "Que veut dire « magasiner » au Québec ?",
    "Can you book a flight for me?",
)


def showcase(subject: Subject, limit: int = 48) -> list[tuple[str, str]]:
    """(prompt, greedy answer) of every prompt."""
    answers = subject.answer(list(PROMPTS), [limit] * len(PROMPTS), len(PROMPTS), lambda done: None)
    return list(zip(PROMPTS, answers, strict=True))
