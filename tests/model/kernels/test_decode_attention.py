"""The decode kernel against plain softmax attention, in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

from avikam.model.attention.decode import plain_decode

pytest.importorskip("triton")


@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (8, 1)], ids=["multi-head", "3:1", "8:1"])
@pytest.mark.parametrize("size", [16, 24])
def test_each_row_sees_the_valid_prefix_of_its_slot(heads: tuple[int, int], size: int) -> None:
    from avikam.model.kernels.decode_attention import decode_attention

    generator = torch.Generator().manual_seed(0)
    q = torch.randn(4, heads[0], size, generator=generator)
    k, v = torch.randn(2, 6, heads[1], 150, size, generator=generator)
    slots, valid = torch.tensor([5, 0, 3, 2]), torch.tensor([1, 64, 65, 150])
    k[3, :, 65:] = torch.nan  # nobody may read behind the end
    v[3, :, 65:] = torch.nan
    ours = decode_attention(q, k, v, slots, valid)
    oracle = plain_decode(q, k.nan_to_num(), v.nan_to_num(), slots, valid)
    assert torch.allclose(ours, oracle, atol=1e-5)
