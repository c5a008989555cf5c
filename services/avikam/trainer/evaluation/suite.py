"""Running an evaluation: each task once, its result kept, so that a cut-off run goes on."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avikam.trainer.decoding import Advance
from avikam.trainer.evaluation.answers import ANSWER_TASKS, score_answers
from avikam.trainer.evaluation.choices import (
    OptionExamples,
    chat_options,
    plain_options,
    score_choices,
)
from avikam.trainer.evaluation.conversation import (
    count_settings,
    everyday,
    score_conversations,
)
from avikam.trainer.evaluation.faithfulness import faithfulness
from avikam.trainer.evaluation.memory import memory_table
from avikam.trainer.evaluation.perplexity import held_out_texts, score_chunks, text_chunks
from avikam.trainer.evaluation.recipe import EvalRecipe
from avikam.trainer.evaluation.refusal import few_of_each, prompts, score_refusals
from avikam.trainer.evaluation.speed import decode_speed
from avikam.trainer.evaluation.subject import Subject
from avikam.trainer.evaluation.summary import summarize
from avikam.trainer.evaluation.translation import (
    DIRECTIONS,
    Translator,
    capped,
    parallel_test,
    public_sets,
)
from avikam.trainer.progress import progress_bar


class Suite:
    """All tasks of a recipe for one model over one data folder.

    ``folder`` keeps ``tasks/<name>.json`` with a key over model, recipe and task; a result whose
    key matches is not measured again.
    """

    def __init__(self, subject: Subject, data: Path, recipe: EvalRecipe, folder: Path) -> None:
        if not data.is_dir():
            raise FileNotFoundError(f"{data} is no folder; pass the corpus with --data")
        self._subject = subject
        self._data = data
        self._recipe = recipe
        self._translator = Translator(subject, recipe)
        self._folder = folder / "tasks"
        self._folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> dict[str, Any]:
        """The whole report: figures by task, the summary, and what they were measured with."""
        tasks = {name: self._once(name, self._task(name)) for name in self._recipe.tasks}
        tasks["speed"] = self._once("speed", lambda: decode_speed(self._subject))
        model = self._subject.model
        return {
            "model": self._subject.name,
            "weights": self._subject.weights,
            "digest": self._subject.digest,
            "commit": source_commit(),
            "config": json.loads(model.config.to_json()),
            "recipe": asdict(self._recipe),
            "tasks": tasks,
            "summary": summarize(tasks, model.config),
        }

    def _task(self, name: str) -> Callable[[], dict[str, Any]]:
        return {
            "perplexity": self._perplexity,
            "translation": self._translation,
            "public-translation": self._public_translation,
            "faithfulness": self._faithfulness,
            "conversation": self._conversation,
            "refusal": self._refusal,
            "quiz": lambda: self._choices("quiz", chat_options),
            "logic": lambda: self._choices("logic", chat_options),
            "quiz-plain": lambda: self._choices("quiz", plain_options),
            "logic-plain": lambda: self._choices("logic", plain_options),
            "memory": lambda: memory_table(self._subject.model.config),
        }.get(name, lambda: self._answers(name))

    def _once(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self._folder / f"{name}.json"
        key = self._key(name)
        if path.exists():
            kept = json.loads(path.read_text("utf-8"))
            if kept["key"] == key:
                return dict(kept["result"])
        started = time.monotonic()
        result = measure()
        kept = {"key": key, "seconds": round(time.monotonic() - started, 1), "result": result}
        beside = path.with_suffix(".partial")
        beside.write_text(json.dumps(kept, indent=2, ensure_ascii=False), encoding="utf-8")
        beside.replace(path)
        return result

    def _key(self, name: str) -> str:
        recipe = {k: v for k, v in asdict(self._recipe).items() if k != "tasks"}
        identity = [name, self._subject.digest, self._subject.weights, str(self._data), recipe]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def _perplexity(self) -> dict[str, Any]:
        result = {}
        for split in ("valid", "test"):
            texts = held_out_texts(self._data, split)
            chunks = text_chunks(self._subject.tokenizer, texts, self._recipe)
            with progress_bar(f"perplexity {split}", len(chunks)) as bar:
                result[split] = score_chunks(self._subject, chunks, _counting(bar))
        return result

    def _translation(self) -> dict[str, Any]:
        pairs = capped(parallel_test(self._data), self._recipe.limit)
        if not pairs:
            return {}
        with progress_bar("translation parallel/test", 2 * len(pairs)) as bar:
            return self._translator.score(pairs, _counting(bar))

    def _public_translation(self) -> dict[str, Any]:
        result = {}
        for name, whole in public_sets(self._data).items():
            pairs = capped(whole, self._recipe.limit)
            with progress_bar(f"translation {name}", 2 * len(pairs)) as bar:
                scores = self._translator.score(pairs, _counting(bar))
            result[name] = {direction: scores[direction]["all"] for direction in scores}
        return result

    def _faithfulness(self) -> dict[str, Any]:
        pairs = capped(parallel_test(self._data), self._recipe.limit)
        if not pairs:
            return {}
        result = {}
        with progress_bar("faithfulness parallel/test", 2 * len(pairs)) as bar:
            for direction in DIRECTIONS:
                sides = [(p.french, p.english)[:: 1 if direction == "fr-en" else -1] for p in pairs]
                sources, references = ([side[i] for side in sides] for i in range(2))
                outputs = self._translator.translate(sources, direction, _counting(bar))
                result[direction] = faithfulness(sources, references, outputs)
        return result

    def _conversation(self) -> dict[str, Any]:
        recipe = self._recipe
        most = min(recipe.conversation_pairs, recipe.limit or recipe.conversation_pairs)
        pairs = everyday(parallel_test(self._data), most)
        if not pairs:
            return {}
        with progress_bar("conversations", count_settings() * len(pairs)) as bar:
            return score_conversations(self._subject, pairs, recipe, _counting(bar))

    def _refusal(self) -> dict[str, Any]:
        recipe = self._recipe
        pairs = everyday(parallel_test(self._data), recipe.conversation_pairs)
        asked = few_of_each(prompts(self._data, pairs, recipe.to_english), recipe.limit)
        with progress_bar("refusals", len(asked)) as bar:
            return score_refusals(self._subject, asked, recipe.batch, _counting(bar))

    def _choices(self, name: str, form: OptionExamples) -> dict[str, Any]:
        with progress_bar(name, None) as bar:
            advance, limit = _counting(bar), self._recipe.limit
            return score_choices(self._subject, self._data, f"{name}_test", limit, advance, form)

    def _answers(self, name: str) -> dict[str, Any]:
        recipe, task = self._recipe, ANSWER_TASKS[name]
        with progress_bar(name, None) as bar:
            advance = _counting(bar)
            return score_answers(
                self._subject, self._data, task, recipe.limit, recipe.batch, advance
            )


def _counting(bar: Callable[[int, str], None]) -> Advance:
    return lambda done: bar(done, "")


def source_commit() -> str:
    """The commit of the source tree this package runs from; ``unknown`` outside a checkout."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
