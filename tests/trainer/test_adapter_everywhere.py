"""One trained adapter, asked through the server and in ``peft``: the same new behaviour."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel

from avikam.model.checkpoint import load_checkpoint
from avikam.model.lora import AppliedAdapter
from avikam.model.lora_files import read_adapter
from avikam.model.quantize import float_state
from avikam.model.tokenizer import Tokenizer
from avikam.trainer.finetuning.command import trainable_base
from avikam.trainer.finetuning.plain_model import PlainModel
from avikam.trainer.finetuning.recipe import FinetuneRecipe
from tests.gateway.harness import RunningGateway, serving
from tests.trainer.conftest import Pipeline
from tests.trainer.test_finetune import worker_logits
from tests.worker.harness import eventually

PROMPT = "Bonjour, je suis le docteur numéro 3."


async def ask(gateway: RunningGateway, model: str) -> str:
    """The answer to :data:`PROMPT` of a model by its name."""
    reply = await gateway.post(
        "/v1/chat/completions", model=model, temperature=0, max_tokens=16,
        messages=[{"role": "user", "content": PROMPT}],
    )  # fmt: skip
    assert reply.status_code == 200, reply.text
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


async def test_the_server_answers_with_the_adapter_that_the_request_names(
    pipeline: Pipeline, adapter: Path
) -> None:
    worker = {"engine": "real", "model": pipeline.model, "adapters": adapter.parent}
    async with serving(worker=worker) as gateway:
        loaded = await gateway.post(
            "/v1/load_lora_adapter", lora_name="sailor", lora_path=adapter.name
        )
        assert loaded.status_code == 200, loaded.text
        await eventually(lambda: "sailor" in gateway.server.gateway.pool.adapters)
        cards = {card["id"]: card for card in (await gateway.get("/v1/models")).json()["data"]}
        base = cards["sailor"]["parent"]
        assert await ask(gateway, "sailor") == "Ohé !"
        assert await ask(gateway, base) == "Bonjour !"
        assert await ask(gateway, "sailor") == "Ohé !"


def test_peft_answers_alike_and_with_the_same_logits(pipeline: Pipeline, adapter: Path) -> None:
    checkpoint = load_checkpoint(pipeline.model)
    tokenizer = Tokenizer(checkpoint.tokenizer_file)
    plain = PlainModel(checkpoint.config, float_state(checkpoint.weights))
    in_peft = PeftModel.from_pretrained(plain, str(adapter))
    tokens = tokenizer.encode_chat([("user", PROMPT)])
    asked = len(tokens)
    with torch.no_grad():
        while (new := int(in_peft(torch.tensor(tokens))[-1].argmax())) != tokenizer.eos_id:
            tokens.append(new)
            assert len(tokens) < asked + 16
        theirs = in_peft(torch.tensor(tokens))
    assert tokenizer.decode(tokens[asked:]) == "Ohé !"
    base = trainable_base(pipeline.model, FinetuneRecipe(), "cpu")
    applied = AppliedAdapter(read_adapter(adapter, checkpoint.config), exact=False)
    ours = worker_logits(base, tokens, applied)
    torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=0)
