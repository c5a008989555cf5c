"""How fast the model under test decodes, for the efficiency figure."""

from __future__ import annotations

import time

import torch

from avikam.trainer.decoding import Request
from avikam.trainer.evaluation.subject import Subject

NEVER = -1
"""No token has this id, so decoding runs to its limit."""

_BYTES = {
    "int8": (1, 1),
    "bfloat16": (2, 2),
    "float16": (2, 2),
    "int4": (0.5625, 2),
    "nf4": (0.5625, 2),
    "llm-int8": (1, 2),
}
"""Weight type -> bytes per weight (in the blocks, in embeddings and head); others take four."""


def decode_speed(subject: Subject, rows: int = 16, tokens: int = 64) -> dict[str, float]:
    """Tokens per second of greedy decoding, ``rows`` sequences side by side."""
    prompt = subject.tokenizer.encode_chat([("user", "Bonjour, comment allez-vous ?")])
    requests = [Request(prompt, tokens)] * rows
    subject.greedy(requests[:2], NEVER, rows)
    started = time.perf_counter()
    subject.greedy(requests, NEVER, rows)
    seconds = time.perf_counter() - started
    return {
        "tokens_per_second": round(rows * tokens / seconds, 1),
        "rows": rows,
        "threads": torch.get_num_threads(),
        "weight_bytes": stored_bytes(subject),
    }


def stored_bytes(subject: Subject) -> int:
    """Bytes of the weights in the type they run in; below 16 bits the embeddings may be larger."""
    config = subject.model.config
    in_blocks, outside = _BYTES.get(subject.weights, (4, 4))
    embeddings = config.vocab_size * config.hidden_size * (1 if config.tie_embeddings else 2)
    return round((config.parameter_count() - embeddings) * in_blocks + embeddings * outside)
