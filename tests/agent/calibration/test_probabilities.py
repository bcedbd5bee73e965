"""Bias-corrected temperature scaling on samples whose true calibration is known."""

import numpy as np
import pytest

from agent.calibration.probabilities import apply, ece, fit_bcts, index_bias, softmax

TRUE_BIASES = np.array([1.0, 0.5, 0.0, 0.0, -0.5, -1.0, -1.0, 0.0])


def _logits(n: int) -> np.ndarray:
    return 2 * np.random.default_rng(0).normal(size=(n, 8))


def test_huge_logits_stay_finite() -> None:
    """Logits of any size give finite probabilities."""
    assert np.isfinite(apply(np.array([[1e4, -1e4, 0, 0, 0, 0, 0, 0]]), 1.0, np.zeros(8))).all()


def test_fit_finds_the_truth() -> None:
    """Targets made with a temperature and biases give these back (biases up to their common shift)."""
    temperature, biases = fit_bcts(_logits(2000), softmax(_logits(2000) / 1.7 + TRUE_BIASES))
    assert temperature == pytest.approx(1.7, rel=1e-3)
    assert biases == pytest.approx(TRUE_BIASES - TRUE_BIASES.mean(), abs=1e-3)


def test_fit_makes_the_mean_index_unbiased() -> None:
    """On what it was fitted to, the mean index of the probabilities is that of the targets."""
    targets = np.random.default_rng(1).dirichlet(np.ones(8), 500)
    logits, points = _logits(500) + 4 * targets, np.linspace(0, 100, 8)
    fitted = apply(logits, *fit_bcts(logits, targets))
    assert abs(index_bias(fitted, targets, points)) < 0.01
    assert ece(fitted, targets) < ece(softmax(logits), targets)


def test_fit_refuses_logits_that_say_the_opposite() -> None:
    """Logits that point away from the targets have no positive temperature."""
    with pytest.raises(ValueError, match="no positive temperature"):
        fit_bcts(-_logits(200), softmax(_logits(200)))


def test_fit_survives_a_class_without_votes() -> None:
    """A class that nobody voted for leaves everything finite."""
    targets = softmax(_logits(300))
    targets[:, 5] = 0
    targets /= targets.sum(axis=1, keepdims=True)
    temperature, biases = fit_bcts(_logits(300), targets)
    assert np.isfinite([temperature, *biases]).all()
