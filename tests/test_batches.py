"""Batches of equal size cover every index once."""

import numpy as np
import pytest

from bestguess.batches import in_batches


@pytest.mark.parametrize(("count", "at_once"), [(7, 3), (6, 3), (2, 5), (1, 1), (0, 4)])
def test_every_index_counts_once_and_all_batches_are_of_one_width(count, at_once):
    batches = list(in_batches(count, at_once))
    counted = [int(i) for indices, own in batches for i in indices[:own]]
    assert counted == list(range(count))
    assert {len(indices) for indices, _ in batches} <= {min(count, at_once)}
    assert all((indices[own:] == count - 1).all() for indices, own in batches)
    assert len(batches) == -(-count // at_once)
    assert all(indices.dtype == np.int64 for indices, _ in batches)
