"""Shares and pieces cover every prompt once, and their weights are those in the whole."""

import pytest
import torch

import toy
from edgewise import runtime
from edgewise.errors import ConfigError
from edgewise.tasks.shares import Share, cut


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("at_most", [None, 1, 2, 3, 100])
@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_every_prompt_is_in_one_piece_of_one_process(n, at_most, processes):
    shares = [cut(n, at_most, rank, processes) for rank in range(processes)]
    assert [i for share in shares for piece in share for i in piece] == list(range(n))
    assert len({len(share) for share in shares}) == 1
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    for share in shares:
        lengths = [len(piece) for piece in share]
        assert max(lengths) - min(lengths) <= 1
        assert at_most is None or max(lengths) <= at_most


def test_by_hand():
    assert cut(5, 2) == [range(1), range(1, 3), range(3, 5)]
    assert cut(5, 2, rank=1, processes=2) == [range(2, 3), range(3, 5)]
    assert cut(1, rank=0, processes=2) == [range(0)]  # the other has it
    with pytest.raises(ConfigError, match="batch size 0: it must be 1 or more"):
        cut(5, 0)


@pytest.mark.parametrize(("at_most", "processes"), [(None, 1), (2, 1), (3, 1), (None, 4), (1, 4)])
def test_weights_are_those_of_the_whole(at_most, processes, monkeypatch):
    task, chosen = toy.task(9), [8, 0, 3, 5, 2, 4, 7]
    whole = task.batch("train", chosen)
    assert whole.prompt_weights.tolist() == pytest.approx([1 / 7] * 7)
    found, first = [], []
    monkeypatch.setattr(runtime, "world_size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(runtime, "rank", lambda rank=rank: rank)
        for piece in Share(task, "train", chosen, at_most):
            if piece.weights.any():
                found.append(piece.weights)
                first += piece.input_ids[:, 0].tolist()
            else:  # a stand-in
                assert len(piece) == 1
                assert piece.prompt_weights.tolist() == [0]
    torch.testing.assert_close(torch.cat(found), whole.weights)
    assert first == whole.input_ids[:, 0].tolist()


def test_more_processes_than_prompts(monkeypatch):
    monkeypatch.setattr(runtime, "world_size", lambda: 3)
    totals = []
    for rank in range(3):
        monkeypatch.setattr(runtime, "rank", lambda rank=rank: rank)
        (piece,) = Share(toy.task(4), "train", [1, 2])
        totals.append(piece.weights.sum().item())
    assert totals == pytest.approx([0, 0.5, 0.5])
