"""Packed tokens, and those that several prompts begin with."""

import pytest
import torch

from edgewise.models.tokens import Tokens

IDS = torch.tensor([[5, 6, 7, 8], [5, 6, 9, 8], [5, 6, 7, 8], [1, 6, 7, 8]])
MASKS = {
    "none": torch.ones(4, 4),
    "left": torch.tensor([[0, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]]),
    "right": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]),
}


@pytest.mark.parametrize(("padding", "count"), [("none", 10), ("left", 11), ("right", 8)])
def test_tokens_that_prompts_begin_with_are_kept_once(padding: str, count: int) -> None:
    """A token is another one where there is another token, or more padding, before it."""
    mask = MASKS[padding].bool()
    every = Tokens.of((4, 4), mask)
    once, kept, shown = every.distinct(IDS)
    begun = [tuple(torch.where(mask, IDS, -1)[row, : column + 1].tolist())
             for row, column in mask.nonzero().tolist()]  # fmt: skip
    assert once.count == len(kept) == len(set(begun)) == count
    assert [begun[i] for i in kept[shown].tolist()] == begun
    values = torch.randn(len(kept), 3)
    laid_out = once.unpack(values)
    assert laid_out[mask].equal(values[shown])
    assert once.pack(laid_out).equal(values)


def test_what_is_written_over_padding_changes_nothing() -> None:
    mask = MASKS["left"].bool()
    other = torch.where(mask, IDS, 3)
    for ours, theirs in zip(
        Tokens.of((4, 4), mask).distinct(IDS)[1:],
        Tokens.of((4, 4), mask).distinct(other)[1:],
        strict=True,
    ):
        assert ours.equal(theirs)
