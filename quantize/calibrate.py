"""Logits of the integer network on the validation split → the calibration that the device applies."""

import numpy as np
import numpy.typing as npt

from agent.vision.model_card import Calibration


def fit(logits: npt.NDArray[np.float64], label: npt.NDArray[np.int64], split: str) -> Calibration:
    """Return the bias-corrected temperature scaling that fits `logits` (n, 8) to `label` (n,)."""
    try:
        from agent.calibration.probabilities import fit_bcts
    except ImportError:
        return Calibration()
    temperature, biases = fit_bcts(logits, np.eye(logits.shape[1])[label])
    return Calibration(
        method="bcts", temperature=float(temperature), biases=tuple(float(b) for b in biases), split=split, n=len(label)
    )
