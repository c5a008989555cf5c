"""What an import will write, and every reason not to: from headers and small files alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avikam.model.config import ModelConfig
from avikam.model.families.fields import FamilyError
from avikam.model.families.recipes import Family
from avikam.model.families.registry import family_of
from avikam.model.imports.tokenizer_words import words_of
from avikam.model.sources.source import Source, SourceError, TensorInfo
from avikam.model.tokenizer import TokenizerError
from avikam.model.vocabulary.decoder import DecoderError
from avikam.model.vocabulary.hugging_face import HfTokenizer
from avikam.model.vocabulary.words import TokenizerWords

# Tables that some files carry along, made from the configuration.
_DERIVED = (".rotary_emb.inv_freq", ".self_attn.rotary_emb.inv_freq")
_HEAD, _EMBED = "lm_head.weight", "model.embed_tokens.weight"
# generation_config.json's words for our defaults; the rest of it says nothing about sampling.
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """One model that can be written: its source, its family, its tokenizer's words, defaults.

    ``also_head`` says that a head is stored beside tied embeddings, and must equal them.
    """

    source: Source
    family: Family
    words: TokenizerWords
    generation: dict[str, Any]
    also_head: bool

    @property
    def config(self) -> ModelConfig:
        return self.family.config


def plan_import(source: Source, name: str = "") -> ImportPlan:
    """Check everything that shows before a weight is read.

    Raises :class:`SourceError` with the first problem, in one line.
    """
    try:
        family = family_of(source.config, name or source.name)
        also_head = _check_tensors(family, source.tensors.infos())
        words = words_of(source)
        HfTokenizer(source.tokenizer.data, words, family.config.vocab_size)
    except (FamilyError, TokenizerError, DecoderError) as error:
        raise SourceError(str(error)) from error
    return ImportPlan(source, family, words, _sampling(source.generation), also_head)


def _check_tensors(family: Family, infos: Mapping[str, TensorInfo]) -> bool:
    """Every tensor that is needed is there in its shape, and no other; true for a spare head."""
    needed = {
        name: shape for recipe in family.recipes.values() for name, shape in recipe.sources.items()
    }
    for name, shape in needed.items():
        if name not in infos:
            raise SourceError(f"the tensor {name} is missing")
        if infos[name].shape != shape:
            found = infos[name].shape
            turned = " (it is transposed)" if found == shape[::-1] else ""
            raise SourceError(
                f"the tensor {name} has shape {list(found)}, needs {list(shape)}{turned}"
            )
    spare = {name for name in infos if name not in needed and not name.endswith(_DERIVED)}
    also_head = _HEAD in spare and family.config.tie_embeddings
    if also_head:
        spare.remove(_HEAD)
        if infos[_HEAD].shape != infos[_EMBED].shape:
            raise SourceError(f"{_HEAD} has another shape than the embeddings it is tied to")
    if spare:
        raise SourceError(f"the tensor {min(spare)} is not known; it may change the model")
    return also_head


def _sampling(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults of our own: what ``generation_config.json`` recommends, greedy where it says so."""
    if generation.get("do_sample") is not True:
        return {"temperature": 0.0} if "do_sample" in generation else {}
    asked = {key: generation[key] for key in _SAMPLING if generation.get(key) is not None}
    for key, value in asked.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SourceError(f"generation_config.json: {key} is {str(value)[:40]!r}, no number")
    return asked
