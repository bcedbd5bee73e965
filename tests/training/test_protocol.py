"""Votes become labels and targets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import protocol

VOTES = st.lists(st.integers(0, 10), min_size=10, max_size=10).map(lambda v: np.array([v]))


@pytest.mark.parametrize(
    ("votes", "kept", "label"),
    [
        ([6, 4, 0, 0, 0, 0, 0, 0, 0, 0], True, 0),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], False, 0),  # not more than half
        ([1, 5, 0, 0, 1, 1, 1, 1, 0, 0], True, 1),  # single votes are slips of the hand
        ([0, 0, 0, 0, 0, 0, 0, 0, 8, 2], False, 8),  # unknown
        ([2, 2, 2, 2, 2, 0, 0, 0, 0, 0], False, 0),
    ],
)
def test_the_majority_rule_is_the_reference_codes(votes: list[int], kept: bool, label: int) -> None:
    """More than half of what remains without single votes, and an emotion."""
    got = protocol.majority(np.array([votes]))
    assert (bool(got[0][0]), int(got[1][0])) == (kept, label)


@given(VOTES)
def test_what_the_majority_rule_keeps_has_its_top_vote_there(votes: np.ndarray) -> None:
    """On every kept face both protocols agree on the label."""
    kept, label = protocol.majority(votes)
    wide, top = protocol.argmax(votes)
    assert not kept[0] or (wide[0] and votes[0, label[0]] == votes[0, top[0]])


def test_a_face_that_nobody_voted_on_is_nobodys() -> None:
    """Ten zeros are no top vote for the first column, in either protocol."""
    nothing = np.zeros((1, 10), np.int64)
    assert not protocol.argmax(nothing)[0].any()
    assert not protocol.majority(nothing)[0].any()


@given(VOTES)
def test_a_target_is_a_distribution_or_nothing(votes: np.ndarray) -> None:
    """Rows sum to 1, or to 0 where nobody saw an emotion."""
    total = protocol.distribution(votes).sum()
    assert total == pytest.approx(1.0 if votes[0, :8].sum() else 0.0)
