"""Channels of one tensor get ranges of one size before they share one int8 scale; the float function stays the same.

Cross-layer equalisation (Nagel et al. 2019, arXiv 1906.04721): ReLU, pooling and sums let a positive factor through,
so what makes a channel can be multiplied by it and what reads it divided. A residual stream has one factor a channel
from its first block to the layers that read it, for all branches that are added to it. There it pays most: a sum's
branches and the sum have a scale each, and the widest of hundreds of channels sets all three.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quantize.streams import Streams, makes
from training import moments

LARGEST: Final = 64.0
"""A channel that is always near zero is not blown up beyond this."""
_COMPARED: Final = 32
"""Faces on which the network must give the same logits before and after."""
_ROUNDING: Final = 2e-3
"""How far those may be apart, in the largest of them: float32 through fifty layers."""


def equalize(model: Any, faces: npt.NDArray[np.uint8], strength: float) -> float:
    """Change the weights of `model`, a Keras network of training/models.py, in place; return the strength that it took.

    That is 0, and the weights are as they were, where the network would compute something else: one that is not ours
    may hold what this module does not know.

    Parameters
    ----------
    faces : uint8 array of shape (n, side, side, 1), 0-255: they tell each channel's range
    strength : 0 changes nothing, 1 gives all channels of a tensor the same range; between, a compromise with the
        weights, whose input channels then differ more from each other
    """
    if not strength:
        return 0.0
    streams = Streams(model)
    weights, some = model.get_weights(), faces[:_COMPARED].astype(np.float32)
    before = model.predict(some, verbose=0)
    factors = {stream: share**-strength for stream, share in _shares(model, streams, faces).items()}
    for layer in model.layers:
        if makes(layer):
            kernel, *bias = layer.get_weights()
            if (read := factors.get(streams.read_by(layer))) is not None:
                kernel = kernel / read[:, np.newaxis]
            if layer.name not in streams.normalised:
                made = factors.get(streams.made_by(layer), np.ones(kernel.shape[-1]))
                kernel, bias = kernel * made, [b * made for b in bias]
            layer.set_weights([kernel, *bias])
        elif type(layer).__name__ == "BatchNormalization" and (made := factors.get(streams.made_by(layer))) is not None:
            gamma, beta, *moments = layer.get_weights()
            layer.set_weights([gamma * made, beta * made, *moments])
    if np.allclose(model.predict(some, verbose=0), before, rtol=0, atol=_ROUNDING * max(1.0, np.abs(before).max())):
        return strength
    model.set_weights(weights)
    return 0.0


def _shares(model: Any, streams: Streams, faces: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
    """Return for each stream, (channels,), how much of a tensor's range a channel takes where it takes most, ≤ 1."""
    chosen = [(layer, stream) for layer in streams.kept if (stream := streams.made_by(layer)) is not None]
    widest = _widest(model, [layer for layer, _ in chosen], faces) if chosen else []
    shares: dict[str, npt.NDArray[np.float64]] = {}
    for (_, stream), wide in zip(chosen, widest, strict=True):
        share = wide / max(float(wide.max()), np.finfo(np.float32).tiny)
        shares[stream] = np.maximum(shares.get(stream, 1 / LARGEST), share)
    return shares


def _widest(model: Any, chosen: list[Any], faces: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float64]]:
    """Return for each layer the largest absolute value of every channel of its output."""
    found = [np.zeros(layer.output.shape[-1]) for layer in chosen]
    for values in moments.between(model, chosen, faces):
        found = [
            np.maximum(a, np.abs(v).reshape(-1, v.shape[-1]).max(axis=0)) for a, v in zip(found, values, strict=True)
        ]
    return found
