"""Scores: against a recount, and their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import metrics


def faces(n: int = 400, seed: int = 1, right: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n, 8) whose top class is the label for a share `right` of the faces, and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 8, n)
    top = np.where(rng.random(n) < right, label, (label + 1) % 8)
    return metrics.softmax(rng.normal(0, 0.3, (n, 8)) + 4 * np.eye(8)[top]), label


def test_accuracy_precision_and_recall_are_a_recount() -> None:
    """The same as counting with a mask."""
    p, label = faces()
    got, top = metrics.measure(p, label, resamples=50), p.argmax(axis=1)
    assert got.accuracy.value == pytest.approx((top == label).mean())
    for c in range(8):
        assert got.recall[c].value == pytest.approx((top[label == c] == c).mean())
        assert got.precision[c].value == pytest.approx((label[top == c] == c).mean())
    assert np.array(got.confusion).sum() == got.n == 400


def test_a_class_that_is_always_right_is_not_sure_to_be() -> None:
    """Twelve of twelve are 1 [0.758, 1], none of fifteen 0 [0, 0.204]: Wilson's bounds, n and z² over n + z²."""
    label = np.repeat([3, 5], [12, 15])
    got = metrics.measure(np.eye(8)[np.repeat([3, 2], [12, 15])], label, resamples=10)
    assert got.recall[3] == metrics.Interval(1, pytest.approx(12 / (12 + 1.96**2)), 1)
    assert got.recall[5] == metrics.Interval(0, 0, pytest.approx(1.96**2 / (15 + 1.96**2)))
    assert got.precision[3].low == pytest.approx(got.recall[3].low)
    assert np.isnan([got.precision[5].value, got.recall[0].low]).all()


def test_macro_f1_is_the_mean_over_the_classes_that_occur() -> None:
    """Two classes, one of them always right, the other half: F1 of 2·1·(4/6)/(1 + 4/6) and 2·1·0.5/1.5."""
    p = np.eye(8)[[0, 0, 0, 0, 1, 1, 0, 0]]
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    first, second = 2 * (4 / 6) / (1 + 4 / 6), 2 * 0.5 / 1.5
    assert metrics.measure(p, label, resamples=10).macro_f1.value == pytest.approx((first + second) / 2)


def test_a_calibration_error_of_known_size() -> None:
    """Everything said with 0.9 and half of it right: 0.4."""
    p = np.full((10, 8), 0.1 / 7)
    p[:, 2] = 0.9
    assert metrics.measure(p, np.array([2] * 5 + [3] * 5), resamples=10).ece.value == pytest.approx(0.4)


@pytest.mark.parametrize("seed", [9, 16, 25])
def test_a_calibration_error_lies_in_its_interval(seed: int) -> None:
    """Also where it is next to nothing: 200 faces whose labels were drawn from their probabilities, and few missed."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(8, 0.3), 200)
    found = metrics.measure(p, np.array([rng.choice(8, p=row) for row in p]), resamples=500).ece
    assert 0 <= found.low < found.value < found.high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of 100 samples with an accuracy of 0.8, about 95 intervals hold 0.8."""
    hits = 0
    for seed in range(100):
        found = metrics.measure(*faces(300, seed), resamples=200).accuracy
        hits += found.low <= 0.8 <= found.high
    assert hits >= 88


def test_a_difference_of_the_same_model_is_zero() -> None:
    """Paired: the same predictions differ by nothing, with no width."""
    p, label = faces()
    got = metrics.paired_difference(p, p, label)
    assert (got.value, got.low, got.high) == (0, 0, 0)


@given(st.lists(st.floats(-1e4, 1e4), min_size=8, max_size=8))
def test_softmax_never_overflows(logits: list[float]) -> None:
    """Finite, and sums to 1."""
    p = metrics.softmax(np.array(logits))
    assert np.isfinite(p).all()
    assert p.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("p", "label"),
    [
        (np.empty((0, 8)), np.empty(0, int)),
        (np.ones((2, 7)), np.zeros(2, int)),
        (np.full((1, 8), np.nan), np.zeros(1, int)),
        (np.ones((1, 8)), np.array([8])),
    ],
)
def test_what_cannot_be_measured_is_refused(p: np.ndarray, label: np.ndarray) -> None:
    """No face, another number of classes, a NaN, a label that is none."""
    with pytest.raises(ValueError, match="expected"):
        metrics.measure(p, label)
