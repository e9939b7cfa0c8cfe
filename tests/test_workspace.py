"""Memory that is used again, and never while someone holds it."""

import pytest
import torch

from edgewise.workspace import Workspace

LIKE = torch.zeros(0)


def test_what_was_given_back_is_used_again():
    space = Workspace()
    first = space.take("a", LIKE, 4, 5)
    place = first.data_ptr()
    del first
    again = space.take("a", LIKE, 2, 9)
    assert again.shape == (2, 9)
    assert again.data_ptr() == place
    assert space.take("b", LIKE, 2, 9).data_ptr() != place


def test_what_is_held_is_left_alone():
    space = Workspace()
    held = space.take("a", LIKE, 8).fill_(1)
    other = space.take("a", LIKE, 8).fill_(2)
    assert held.eq(1).all()
    place = other.data_ptr()
    del other
    assert space.take("a", LIKE, 8).data_ptr() == place


@pytest.mark.parametrize("size", [11, 7])
def test_it_grows_and_shrinks_with_what_is_asked(size: int):
    space = Workspace()
    space.take("a", LIKE, 10)
    assert space.take("a", LIKE, size).untyped_storage().nbytes() == 4 * size
    assert space.take("a", LIKE.double(), size).dtype == torch.float64
