"""lm-eval itself, over HTTP, finds what ``avikam eval`` finds in this process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from avikam.trainer.evaluation.choices import plain_options, score_choices
from avikam.trainer.evaluation.subject import load_subject
from avikam.trainer.readers import find, read_jsonl
from tests.clients.environments import python_with
from tests.gateway.harness import serving
from tests.trainer.conftest import Pipeline

TASKS = Path(__file__).parents[2] / "recipes" / "lm-eval"


NAMES = ("quiz", "logic")


@pytest.mark.timeout(900)  # the first run installs lm-eval
async def test_local_completions_scores_as_in_process(pipeline: Pipeline, tmp_path: Path) -> None:
    corpus, found = tmp_path / "corpus", tmp_path / "found"
    shutil.copytree(pipeline.evaluation, corpus / "eval")
    subject = load_subject(pipeline.model)
    async with serving(worker={"engine": "real", "model": pipeline.model}) as gateway:
        url = str(gateway.client.base_url.join("/v1/completions"))
        await lm_eval(url, subject.name, corpus, found)
    results = json.loads(only(found, "results_*.json").read_text("utf-8"))["results"]
    for name in NAMES:
        here = score_choices(subject, corpus, f"{name}_test", 0, lambda done: None, plain_options)
        accuracy = here["all"]["accuracy"]
        assert results[f"avikam_{name}"]["acc,none"] == pytest.approx(accuracy, abs=1e-4)

        file = find(corpus / "eval", f"{name}_test")
        assert file is not None
        examples = [e for item in read_jsonl(file) for e in plain_options(subject.tokenizer, item)]
        scored = subject.log_likelihoods(examples, lambda done: None)
        expected = [each.log_probability for each in scored]
        assert likelihoods(found, name) == pytest.approx(expected, abs=1e-4)


async def lm_eval(url: str, model: str, corpus: Path, out: Path) -> None:
    """The command of docs/training.md, in lm-eval's own environment."""
    python = await asyncio.to_thread(python_with, "lm_eval")
    process = await asyncio.create_subprocess_exec(
        *python, "-m", "lm_eval",
        "--model", "local-completions",
        "--model_args", f"base_url={url},model={model},tokenized_requests=True,max_length=255",
        "--include_path", TASKS, "--tasks", ",".join(f"avikam_{n}" for n in NAMES),
        "--metadata", json.dumps({"data": str(corpus)}),
        "--batch_size", "8", "--output_path", out, "--log_samples",
        env={**os.environ, "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1",
             "HF_HOME": str(out / "cache"), "OPENAI_API_KEY": "unused"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()[-4000:]


def likelihoods(folder: Path, name: str) -> list[float]:
    """Every option's log-likelihood, question by question, as lm-eval kept them."""
    lines = only(folder, f"samples_avikam_{name}_*.jsonl").read_text("utf-8").splitlines()
    samples: list[dict[str, Any]] = sorted(map(json.loads, lines), key=lambda s: s["doc_id"])
    return [float(answer[0]) for sample in samples for answer in sample["filtered_resps"]]


def only(folder: Path, pattern: str) -> Path:
    """The one file of that name."""
    (path,) = folder.rglob(pattern)
    return path
