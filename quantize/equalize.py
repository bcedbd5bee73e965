"""Channels of one tensor get ranges of one size before they share one int8 scale; the float function stays the same.

Cross-layer equalisation (Nagel et al. 2019, arXiv 1906.04721): ReLU, pooling and sums let a positive factor through,
so what makes a channel can be multiplied by it and what reads it divided. A residual stream has one factor a channel
from its first block to the layers that read it, for all branches that are added to it. There it pays most: a sum's
branches and the sum have a scale each, and the widest of hundreds of channels sets all three.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quantize import source

PASSING: Final = frozenset(
    {"ReLU", "MaxPooling2D", "ZeroPadding2D", "Dropout", "GlobalAveragePooling2D", "Add", "BatchNormalization"}
)
"""Layers that give a factor on their input's channels on to their output's; a normalisation, by its own scale."""
MAKING: Final = frozenset({"Conv2D", "Dense"})
LARGEST: Final = 64.0
"""A channel that is always near zero is not blown up beyond this."""


def equalize(model: Any, faces: npt.NDArray[np.uint8], strength: float) -> None:
    """Change the weights of `model`, a Keras network of training/models.py, in place.

    Parameters
    ----------
    faces : uint8 array of shape (n, side, side, 1), 0-255: they tell each channel's range
    strength : 0 changes nothing, 1 gives all channels of a tensor the same range; between, a compromise with the
        weights, whose input channels then differ more from each other
    """
    if not strength:
        return
    streams = _Streams(model)
    factors = {stream: share**-strength for stream, share in _shares(model, streams, faces).items()}
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in MAKING:
            kernel, *bias = layer.get_weights()
            if (read := factors.get(streams.read_by(layer))) is not None:
                kernel = kernel / read[:, np.newaxis]
            if layer.name not in streams.normalised:
                made = factors.get(streams.made_by(layer), np.ones(kernel.shape[-1]))
                kernel, bias = kernel * made, [b * made for b in bias]
            layer.set_weights([kernel, *bias])
        elif kind == "BatchNormalization" and (made := factors.get(streams.made_by(layer))) is not None:
            gamma, beta, *moments = layer.get_weights()
            layer.set_weights([gamma * made, beta * made, *moments])


class _Streams:
    """Which tensors of a network share their channels' factors."""

    def __init__(self, model: Any) -> None:
        import keras

        steps = model.operations  # layers, and bare keras.ops of networks that are not ours
        maker = {id(layer.output): layer for layer in steps}
        self._inputs = {layer.name: [maker[id(t)] for t in keras.tree.flatten(layer.input)] for layer in steps[1:]}
        readers: dict[str, list[Any]] = {layer.name: [] for layer in steps}
        for layer in steps[1:]:
            for giver in self._inputs[layer.name]:
                readers[giver.name].append(layer)
        self.normalised = {
            layer.name
            for layer in steps
            if type(layer).__name__ in MAKING and _kinds(readers[layer.name]) == {"BatchNormalization"}
        }
        """Convolutions whose own output is no tensor of the integer network: the normalisation after it is."""
        self.kept = [
            layer
            for layer in steps
            if type(layer).__name__ in {"Conv2D", "BatchNormalization", "ReLU", "Activation", "Add"}
            and layer.name not in self.normalised
            and not _kinds(readers[layer.name]) <= {"ReLU", "Activation"}
        ]
        """Layers whose outputs the integer network stores: what is activated next is not."""
        self._root = {layer.name: layer.name for layer in steps}
        self._fixed = set()
        for layer in steps:
            if _gives_on(layer) and layer.name not in self.normalised:
                for giver in self._inputs[layer.name]:
                    if giver.name not in self.normalised:
                        self._root[self._find(giver.name)] = self._find(layer.name)
        for layer in steps:
            if not _gives_on(layer) and type(layer).__name__ not in MAKING:
                self._fixed.add(self._find(layer.name))
                self._fixed |= {self._find(giver.name) for giver in self._inputs.get(layer.name, [])}
        self._fixed.add(self._find(steps[-1].name))  # logits

    def made_by(self, layer: Any) -> str | None:
        """Return the stream of what `layer` gives, None where its channels must stay as they are."""
        found = self._find(layer.name)
        return None if found in self._fixed else found

    def read_by(self, layer: Any) -> str | None:
        """Return the stream of what `layer` takes, or None."""
        (giver,) = self._inputs[layer.name]
        return self.made_by(giver)

    def _find(self, name: str) -> str:
        while self._root[name] != name:
            name = self._root[name]
        return name


def _gives_on(layer: Any) -> bool:
    kind = type(layer).__name__
    return kind in PASSING or (kind == "Activation" and layer.get_config()["activation"] == "relu")


def _kinds(layers: list[Any]) -> set[str]:
    return {type(layer).__name__ for layer in layers}


def _shares(model: Any, streams: _Streams, faces: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
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
    for values in source.between(model, chosen, faces):
        found = [
            np.maximum(a, np.abs(v).reshape(-1, v.shape[-1]).max(axis=0)) for a, v in zip(found, values, strict=True)
        ]
    return found
