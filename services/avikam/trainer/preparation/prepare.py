"""From raw files to a corpus folder.

    raw files -> clean rows, file by file -> copies out, split, leaks out -> corpus folder, report

The rows of each cleaned file are kept in ``.work`` until the end, so a cut-off run goes on there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avikam.trainer.corpus import load_corpus
from avikam.trainer.preparation.duplicates import without_duplicates
from avikam.trainer.preparation.intake import raw_files, read_rows
from avikam.trainer.preparation.layout import Sided, write_corpus
from avikam.trainer.preparation.leaks import LeakGuard, first_leaks
from avikam.trainer.preparation.recipe import CorpusRecipe
from avikam.trainer.preparation.report import write_report
from avikam.trainer.preparation.rows import Row
from avikam.trainer.preparation.shards import read_shard, write_lines
from avikam.trainer.preparation.split import side_of
from avikam.trainer.progress import progress_bar


class LeakError(ValueError):
    """Training text that contains evaluation text."""


class Preparation:
    """One corpus: ``raw`` files in, ``out`` folder out, evaluation sets in ``evaluation``."""

    def __init__(
        self, raw: Path, out: Path, recipe: CorpusRecipe, evaluation: Path | None = None
    ) -> None:
        self._files = raw_files(raw)
        self._raw = raw
        self._out = out
        self._recipe = recipe
        self._evaluation = evaluation
        files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in self._files]
        identity = json.dumps([asdict(recipe), files], sort_keys=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:12]
        self._work = out / ".work" / key

    def run(self) -> Path:
        """Build the corpus; returns the report's Markdown file."""
        dropped: Counter[str] = Counter()
        shards = self._clean(dropped)
        rows = self._sided(shards, dropped)
        write_corpus(self._out, rows)
        evaluation_files = self._copy_evaluation()
        document = write_report(self._out, rows, dropped, evaluation_files, self._recipe)
        shutil.rmtree(self._out / ".work")
        return document

    def _clean(self, dropped: Counter[str]) -> list[Path]:
        """Stage one, file by file; the counts of a finished file are kept beside it."""
        shards = []
        with progress_bar("clean", len(self._files)) as bar:
            for path in self._files:
                name = str(path.relative_to(self._raw)).replace("/", "__")
                shard, counts = self._work / f"{name}.rows.gz", self._work / f"{name}.counts.json"
                if not counts.exists():
                    here: Counter[str] = Counter()
                    rows = read_rows(path, self._recipe, here)
                    write_lines(shard, (row.to_json() for row in rows))
                    counts.write_text(json.dumps(here), encoding="utf-8")
                dropped.update(json.loads(counts.read_text(encoding="utf-8")))
                shards.append(shard)
                bar(1, path.name)
        return shards

    def _sided(self, shards: list[Path], dropped: Counter[str]) -> Sided:
        """Stage two: copies go, every row gets its side, training rows that leak go."""
        with progress_bar("copies", len(shards)) as bar:
            rows = without_duplicates(_all_rows(shards, bar), self._recipe, dropped)
            sided: Sided = [(side_of(row, self._recipe), row) for row in rows]
        guard = LeakGuard()
        if self._evaluation:
            guard.hold_out_evaluation(self._evaluation)
        for side, row in sided:
            if side != "train":
                guard.hold_out(row)
        return _without_leaks(sided, guard, dropped)

    def _copy_evaluation(self) -> list[str]:
        """Evaluation sets travel with the corpus, so that ``--data`` is one folder."""
        if not self._evaluation:
            return []
        target = self._out / "eval"
        if target.resolve() != self._evaluation.resolve():
            shutil.copytree(self._evaluation, target, dirs_exist_ok=True)
        return sorted(path.name for path in target.iterdir())


def _all_rows(shards: list[Path], bar: Any) -> Iterator[Row]:
    for shard in shards:
        yield from read_shard(shard)
        bar(1, "")


def _without_leaks(sided: Sided, guard: LeakGuard, dropped: Counter[str]) -> Sided:
    kept: Sided = []
    with progress_bar("leaks", len(sided)) as bar:
        for side, row in sided:
            bar(1, "")
            if side == "train" and guard.leak(row):
                dropped["leak"] += 1
            else:
                kept.append((side, row))
    return kept


def check_leaks(folder: Path) -> str:
    """Compare training text with ``eval/`` and held-out pairs; :class:`LeakError` shows leaks."""
    if not (folder / "eval").is_dir():
        raise FileNotFoundError(f"{folder} has no folder eval/ to check against")
    guard = LeakGuard()
    names = guard.hold_out_evaluation(folder / "eval")
    for side in ("valid", "test"):
        for row in corpus_rows(folder, side):
            if row.kind == "pair":
                guard.hold_out(row)
    leaks = first_leaks(corpus_rows(folder, "train"), guard)
    if leaks:
        shown = "\n".join(leaks)
        raise LeakError(f"{len(leaks)} or more training rows hold evaluation text:\n{shown}")
    return (
        f"no training row of {folder} holds text of {len(names)} evaluation files "
        "or of the held-out pairs"
    )


def corpus_rows(folder: Path, side: str) -> Iterator[Row]:
    """Every row of one side of a corpus folder in its final layout."""
    corpus = load_corpus(folder, side)
    for domain, pairs in corpus.pairs.items():
        for pair in pairs:
            yield Row("pair", (pair.french, pair.english), "fr-en", domain)
    for domain, passages in corpus.passages.items():
        for passage in passages:
            yield Row("text", (passage.text,), passage.language, domain)
    for kind, chats in corpus.chats.items():
        for turns in chats:
            yield Row("chat", tuple(content for _, content in turns), "", kind)
