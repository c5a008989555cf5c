"""A newcomer's way, as docs/training.md tells it: files in three forms, a served adapter."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avikam.trainer.conversation_rows import turns_of
from tests.gateway.harness import serving
from tests.trainer.commands import avikam
from tests.trainer.conftest import Pipeline
from tests.trainer.toy import sentence, write_jsonl
from tests.worker.harness import eventually

TOY = Path(__file__).parents[2] / "recipes" / "toy.yaml"
Form = Callable[[str, str], dict[str, Any]]
FORMS: dict[str, Form] = {
    "openai": lambda asked, said: {
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": said},
        ]
    },
    "sharegpt": lambda asked, said: {
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]
    },
    "alpaca": lambda asked, said: {"instruction": "Traduis :", "input": asked, "output": said},
}


def rows(form: Form, count: int, seed: int) -> list[dict[str, Any]]:
    """The same answer to everything, in one of the forms: soon learnt, easily seen."""
    rng = random.Random(seed)
    return [form(f"{sentence(rng)[0]} {i}", "Ohé matelot !") for i in range(count)]


def test_everything_runs_on_files_in_three_forms(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    for seed, (name, form) in enumerate(FORMS.items()):
        write_jsonl(raw / f"{name}.jsonl", rows(form, 60, seed))
    rng = random.Random(7)
    pairs = dict(sentence(rng) for _ in range(400))
    lines = ["fr\ten", *(f"{french}\t{english}" for french, english in pairs.items())]
    (raw / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    printed = avikam(
        "train", "all", raw, out, "--recipe", TOY, "--device", "cpu",
        "--set", "pretrain.steps=20", "--set", "finetune.steps=6", "--set", "vocabulary=420",
    )  # fmt: skip
    assert [line.split()[0] for line in printed.splitlines() if " s): " in line] == [
        "corpus", "vocabulary", "pretrain", "export", "finetune", "eval",
    ]  # fmt: skip
    assert (out / "adapter" / "adapter_config.json").exists()
    card = (out / "model" / "MODEL_CARD.md").read_text("utf-8")
    assert card.startswith("# model\n")
    assert (out / "model" / "training-recipe.yaml").exists()
    assert json.loads((out / "evaluation" / "report.json").read_text("utf-8"))["tasks"]


@pytest.mark.parametrize("name", FORMS)
async def test_an_adapter_of_each_form_is_served(
    pipeline: Pipeline, tmp_path: Path, name: str
) -> None:
    write_jsonl(tmp_path / "data" / "train.jsonl", rows(FORMS[name], 160, 1))
    adapters = tmp_path / "adapters"
    printed = avikam(
        "train", "finetune", pipeline.model, tmp_path / "data", adapters / name,
        "--recipe", TOY, "--device", "cpu",
    )  # fmt: skip
    assert "8 of the rows in train.jsonl are held out" in printed
    worker = {"engine": "real", "model": pipeline.model, "adapters": adapters}
    async with serving(worker=worker) as gateway:
        loaded = await gateway.post("/v1/load_lora_adapter", lora_name="mine", lora_path=name)
        assert loaded.status_code == 200, loaded.text
        await eventually(lambda: "mine" in gateway.server.gateway.pool.adapters)
        _, asked = turns_of(rows(FORMS[name], 1, 99)[0])[0]
        reply = await gateway.post(
            "/v1/chat/completions", model="mine", temperature=0, max_tokens=16,
            messages=[{"role": "user", "content": asked}],
        )  # fmt: skip
        assert reply.json()["choices"][0]["message"]["content"] == "Ohé matelot !"
