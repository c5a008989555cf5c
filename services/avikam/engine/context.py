"""How long a context the slots can hold in this machine's memory."""

from __future__ import annotations

import logging

import psutil
import torch

from avikam.model.backends import Backend
from avikam.model.checkpoint import CheckpointError
from avikam.model.config import ModelConfig

_log = logging.getLogger(__name__)

_SHARE = 0.5  # of what is free; weights, prefixes and activations need the rest
_STEP, _LEAST = 256, 2048


def context_length(config: ModelConfig, asked: int, slots: int, backend: Backend) -> int:
    """Tokens of prompt and answer. Raises :class:`CheckpointError` with the numbers.

    ``asked`` 0 takes the model's own length, or less where ``slots`` sequences of it would not fit.
    """
    most = config.max_positions
    if asked > most:
        raise CheckpointError(f"max_model_len is {asked}, the model reads {most} tokens")
    each = backend.bytes_per_token(config)
    if asked or not each:
        return asked or most
    free = _SHARE * _free_bytes(backend.device) - slots * backend.fixed_bytes(config)
    fits = int(free / (slots * each)) // _STEP * _STEP
    if fits >= most:
        return most
    if fits < min(most, _LEAST):
        raise CheckpointError(
            f"{slots} slots of {min(most, _LEAST)} tokens need "
            f"{slots * min(most, _LEAST) * each / 2**30:.1f} GiB for keys and values, "
            f"{max(0.0, free) / 2**30:.1f} GiB are free for them; set fewer slots, or max_model_len"
        )
    _log.warning(
        "the context is %d tokens instead of %d: %d slots have no room for more", fits, most, slots
    )
    return fits


def _free_bytes(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)
