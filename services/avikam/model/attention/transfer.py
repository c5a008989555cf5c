"""The way to a device that does not make the host wait for it."""

from __future__ import annotations

from torch import Tensor


def sent(tensor: Tensor, device: str) -> Tensor:
    """``tensor`` on ``device``, in the order of its queue.

    From ordinary memory a copy to a GPU would wait for all work before it. PyTorch keeps the
    pinned memory of this one until it is done.
    """
    if device == "cpu" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
