"""A block's parts as matrices."""

import pytest
import torch

import tiny


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa", "post-norm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_heads_write_through_is_w_o(name: str, dtype: torch.dtype) -> None:
    """In 16 bits in one stretch whichever way round, as a product with one chunk after another asks
    for."""
    model = tiny.model(name, dtype=dtype)
    block = model.blocks[0]
    whole, some = block.head_weights(), block.head_weights(torch.tensor([1]))
    expected = tiny.seen(model, block.out_weight)
    assert torch.equal(whole, expected)
    assert torch.equal(some, expected[1:2])
    if dtype == torch.bfloat16:
        for weight in (whole, some):
            assert weight.is_contiguous() or weight.transpose(1, 2).is_contiguous()
