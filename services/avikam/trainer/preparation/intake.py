"""Reading raw files into rows, and dropping what cannot be used, with a count of each reason.

Columns decide what a file holds: ``fr`` and ``en`` are a pair, ``messages`` or another form of
:mod:`avikam.trainer.conversation_rows` a conversation, ``text`` a text. ``lang``, ``domain``,
``source`` and ``group`` are read where they exist; otherwise the language is identified and the
domain is the file's, as its name gives it (``<lang>_<domain>.jsonl``), or the recipe's default.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from avikam.trainer.conversation_rows import RowError, is_conversation, turns_of
from avikam.trainer.preparation.cleaning import clean
from avikam.trainer.preparation.recipe import CorpusRecipe
from avikam.trainer.preparation.rows import Row
from avikam.trainer.readers import read_jsonl, read_tsv

_ENDINGS = (".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz")
_NAMED = re.compile(r"^(?:fr|en)_(?P<domain>[a-z]+)\.")
_SURE_CHARACTERS = 40
"""Shorter texts are not identified reliably; their label is believed."""


def raw_files(folder: Path) -> list[Path]:
    """Every readable file below ``folder``, sorted."""
    found = sorted(p for p in folder.rglob("*") if p.name.endswith(_ENDINGS))
    if not found:
        raise FileNotFoundError(f"{folder} holds no .jsonl or .tsv file (plain or .gz)")
    return found


def read_rows(path: Path, recipe: CorpusRecipe, dropped: Counter[str]) -> Iterator[Row]:
    """Clean rows of one file; ``dropped`` counts the others by reason."""
    raw = read_tsv(path, dropped) if ".tsv" in path.suffixes else read_jsonl(path, dropped)
    for values in raw:
        row = _parse(values, path, recipe)
        if isinstance(row, str):
            dropped[row] += 1
            continue
        row = row.mapped(lambda part: clean(part, recipe.strip_punctuation))
        problem = _problem(row, recipe)
        if problem:
            dropped[problem] += 1
        else:
            yield row


def _parse(values: Mapping[str, Any], path: Path, recipe: CorpusRecipe) -> Row | str:
    """The row, or why it is none."""
    named = _NAMED.match(path.name)
    of_file = named["domain"] if named else recipe.default_domain
    domain = str(values.get("domain") or values.get("kind") or of_file)
    source, group = str(values.get("source") or ""), str(values.get("group") or "")
    if values.get("fr") and values.get("en"):
        return Row("pair", (values["fr"], values["en"]), "fr-en", domain, source, group)
    if is_conversation(values):
        try:
            roles, parts = zip(*turns_of(values), strict=True)
        except RowError as error:
            return f"{path.name}: {error}"
        language = values.get("lang") or language_of(" ".join(parts))
        return Row("chat", parts, language, domain, source, group, roles)
    if values.get("text"):
        language = values.get("lang") or language_of(values["text"])
        return Row("text", (values["text"],), language, domain, source, group)
    return f"{path.name}: unknown form, columns {', '.join(map(str, values))}"


def _problem(row: Row, recipe: CorpusRecipe) -> str:
    sizes = [len(part) for part in row.parts]
    if min(sizes) < recipe.min_characters:
        return "too short"
    if max(sizes) > recipe.max_characters:
        return "too long"
    if row.kind == "pair":
        return _pair_problem(row, recipe)
    return "" if row.language in {"fr", "en"} else "other language"


def _pair_problem(row: Row, recipe: CorpusRecipe) -> str:
    french, english = row.parts
    longer, shorter = max(map(len, row.parts)), min(map(len, row.parts))
    if longer > recipe.max_length_ratio * shorter and longer > _SURE_CHARACTERS:
        return "unequal lengths"
    if longer > _SURE_CHARACTERS and french == english:
        return "not translated"
    for part, language in zip(row.parts, ("fr", "en"), strict=True):
        if len(part) > _SURE_CHARACTERS and language_of(part) != language:
            return "wrong language"
    return ""


def language_of(text: str) -> str:
    """``fr`` or ``en``, whichever is likelier (langid.py's model, Lui & Baldwin 2012)."""
    return str(_identifier().classify(text)[0])


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(["fr", "en"])
    return identifier
