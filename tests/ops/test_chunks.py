"""Chunks hold what a tensor of all tokens would."""

import pytest
import torch
from torch import Tensor

from edgewise.ops.chunks import Chunks, Wide

ROWS, TOKENS, WIDTH = 4, 7, 3
each_cut = pytest.mark.parametrize("sizes", [(7,), (3, 4), (3, 3, 1), (1,) * 7], ids=str)


def filled(sizes: tuple[int, ...], rows: int = ROWS) -> tuple[Wide, Tensor]:
    """A buffer and what it holds, (rows, TOKENS, WIDTH)."""
    ends = torch.tensor(sizes).cumsum(0).tolist()
    tokens = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    wide = Wide.of(torch.full((rows, TOKENS, WIDTH), torch.nan), tokens)
    values = torch.randn(rows, TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))
    for row in range(rows):
        wide.put(row, values[row])
    return wide, values


def all_of(chunks: Chunks) -> Tensor:
    return torch.cat([values for _, values in chunks], 1)


@each_cut
def test_rows(sizes: tuple[int, ...]) -> None:
    wide, values = filled(sizes)
    assert len(wide) == ROWS
    assert torch.equal(all_of(wide), values)
    assert all(torch.equal(wide.row(row), values[row]) for row in range(ROWS))
    some = wide.rows(slice(1, 3))
    assert torch.equal(all_of(some), values[1:3])
    some.put(0, -values[1])
    assert torch.equal(wide.row(1), -values[1])


@each_cut
def test_chunks_fill_the_memory_each_in_one_stretch(sizes: tuple[int, ...]) -> None:
    wide, values = filled(sizes)
    assert all(each.is_contiguous() for _, each in wide)
    assert torch.equal(wide.memory.flatten().sort()[0], values.flatten().sort()[0])


@each_cut
def test_tokens_of_one_chunk(sizes: tuple[int, ...]) -> None:
    wide, values = filled(sizes)
    for tokens, _ in wide:
        for start in range(tokens.start, tokens.stop):
            part = slice(start, tokens.stop)
            assert torch.equal(wide.at(part), values[:, part])


@each_cut
@pytest.mark.parametrize("at", [[6], [0, 2, 3, 6], list(range(7)), []], ids=str)
def test_any_tokens(sizes: tuple[int, ...], at: list[int]) -> None:
    wide, values = filled(sizes)
    places = torch.tensor(at, dtype=torch.long)
    assert torch.equal(wide.taken(places), values[:, places])
    new = torch.randn(ROWS, len(at), WIDTH)
    wide.set(places, new)
    values[:, places] = new
    assert torch.equal(all_of(wide), values)


def test_no_rows() -> None:
    wide, _ = filled((3, 4), rows=0)
    assert len(wide) == 0
    assert wide.taken(torch.tensor([2, 5])).shape == (0, 2, WIDTH)


def test_one_chunk_is_not_copied() -> None:
    values = torch.zeros(ROWS, TOKENS, WIDTH)
    Chunks.whole(values).row(2).fill_(1.0)
    assert values[2].eq(1).all()
