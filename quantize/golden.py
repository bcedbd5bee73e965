"""Golden vectors: faces of nobody, and the integers that the network must give for them on every machine."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from agent.emotions import LABELS
from agent.vision.card import Golden
from agent.vision.model_card import Goldens
from agent.vision.runtime import Runtime
from training.network import Network

LEAST_FACES: Final = 12
"""Fewer faces than these are not averaged: each would show through their mean, and the bundle is published."""

MARGIN: Final = 2
"""Allowed difference of default kernels, in units of the largest one seen between LiteRT's two kernels."""

LEAST_STEPS: Final = 4
"""Allowed difference at least, in steps of the output's scale."""


def faces(chosen: npt.NDArray[np.uint8], label: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint8]:
    """Return 16 network inputs (16, side, side, 1): each class' mean of `chosen`, stretched to 0-255, and with noise.

    A mean of a dozen faces or more shows no person, so the bundle holds no picture of anyone. A class with fewer than
    `LEAST_FACES` of them in `chosen` (n, side, side, 1), `label` (n,), gets smooth noise in place of its mean.
    """
    rng = np.random.default_rng(seed)
    clean = smooth(len(LABELS), chosen.shape[1]).astype(np.float64)
    for c in range(len(LABELS)):
        members = chosen[label == c]
        if len(members) >= LEAST_FACES:
            mean = members.astype(np.float64).mean(axis=0)
            spread = max(float(np.ptp(mean)), 1.0)
            clean[c] = (mean - mean.min()) * 255 / spread
    noisy = clean + rng.normal(0, 25, clean.shape)
    return np.clip(np.rint(np.concatenate([clean, noisy])), 0, 255).astype(np.uint8)


def smooth(n: int, side: int) -> npt.NDArray[np.uint8]:
    """Return `n` inputs (n, side, side, 1) of smooth noise, the same ones every time: what stands in for faces."""
    rough = np.random.default_rng(1).integers(0, 256, (n, 6, 6), dtype=np.uint8)
    return np.array(
        [cv2.resize(r, (side, side), interpolation=cv2.INTER_CUBIC) for r in rough], dtype=np.uint8
    ).reshape(n, side, side, 1)


def make(
    model: bytes, runtime: Runtime, inputs: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8], scale: float
) -> tuple[Goldens, Golden]:
    """Return the golden vectors of `model` for `inputs`, and what its check allows.

    The allowance comes from how far reference and default kernels are apart on `inputs` and `others`,
    both (n, side, side, 1); `scale` is the output's.
    """
    both = np.concatenate([inputs, others])
    reference = Network(model, runtime, reference=True).raw(both, "reference kernels")
    default = Network(model, runtime).raw(both)
    steps = int(np.abs(reference.astype(np.int64) - default).max())
    n = len(inputs)
    allowed = max(LEAST_STEPS, MARGIN * steps) * scale
    return Goldens(inputs, reference[:n], default[:n]), Golden(max_logit_error=allowed)
