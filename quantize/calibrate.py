"""Logits of the integer network on the validation split → the calibration that the device applies."""

import numpy as np
import numpy.typing as npt

from agent.calibration import prior
from agent.calibration.probabilities import apply, fit_bcts, reliability
from agent.errors import ModelError
from agent.vision.card import Calibration
from quantize.scores import Labelled


def fit(logits: npt.NDArray[np.float64], faces: Labelled) -> Calibration:
    """Return the bias-corrected temperature scaling that fits `logits` (n, 8) to the votes of `faces`.

    Ambiguous faces count too: a camera sees them as well.

    Raises
    ------
    ModelError
        the logits tell nothing of the votes
    """
    try:
        temperature, biases = fit_bcts(logits, faces.votes)
    except ValueError as cause:
        raise ModelError(f"calibration on {faces.name}: {cause}; the network has learned nothing") from cause
    probabilities = apply(logits, temperature, biases)
    joint = prior.reference(probabilities, faces.votes)
    return Calibration(
        method="bcts",
        temperature=temperature,
        biases=tuple(float(b) for b in biases),
        split=faces.name,
        n=len(faces.votes),
        reference=tuple(tuple(round(float(v), 8) for v in row) for row in joint),
        bars=tuple((bar.n, bar.confidence, bar.truth) for bar in reliability(probabilities, faces.votes)),
    )
