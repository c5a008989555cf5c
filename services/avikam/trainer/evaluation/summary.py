"""One score for a model out of its tasks."""

from __future__ import annotations

from typing import Any

from avikam.model.config import ModelConfig
from avikam.trainer.evaluation.scores import composite, efficiency, normalized_perplexity

ACCURACIES = ("quiz", "logic", "arithmetic", "word-problems", "regional")


def summarize(tasks: dict[str, Any], config: ModelConfig) -> dict[str, float]:
    """The composite score and its parts, as far as the tasks that were run allow.

    Accuracy is the mean over the tasks with a right answer (reading counts by exact match), BLEU
    the mean of both directions over all of ``parallel/test``, perplexity the French test text's.
    """
    parts: dict[str, float] = {}
    accuracies = [tasks[name]["all"]["accuracy"] for name in ACCURACIES if tasks.get(name)]
    if tasks.get("reading"):
        accuracies.append(tasks["reading"]["all"]["exact_match"])
    if accuracies:
        parts["accuracy"] = sum(accuracies) / len(accuracies)
    if tasks.get("translation"):
        scores = [tasks["translation"][d]["all"]["bleu"] for d in tasks["translation"]]
        parts["bleu"] = sum(scores) / len(scores) / 100
    if tasks.get("perplexity"):
        french = tasks["perplexity"]["test"].get("fr")
        if french:
            perplexity = french["all"]["perplexity"]
            parts["normalized_perplexity"] = normalized_perplexity(perplexity, config.vocab_size)
    if len(parts) == 3:
        parts["composite"] = composite(
            parts["accuracy"], parts["bleu"], parts["normalized_perplexity"]
        )
        speed = tasks["speed"]
        gibibytes = speed["weight_bytes"] / 2**30
        parts["efficiency"] = efficiency(parts["composite"], speed["tokens_per_second"], gibibytes)
    return {name: round(value, 4) for name, value in parts.items()}
