"""What a network's layers give for faces, and normalisation that is set by it: weights from elsewhere become trainable.

Weights that run on a device, or that come from another library, have their batch normalisation folded into the
convolutions. Training wants it back: moments that are real, and the scale and shift that undo them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


def between(model: Any, layers: list[Any], faces: npt.NDArray[np.uint8]) -> Iterator[list[npt.NDArray[np.float32]]]:
    """Yield what each of `layers` gives for `faces` (n, side, side, 1), 0-255, 64 at a time; any backend of Keras."""
    import keras

    inner = keras.Model(model.input, [layer.output for layer in layers])
    for start in range(0, len(faces), 64):
        outputs = inner(faces[start : start + 64].astype(np.float32), training=False)
        yield [keras.ops.convert_to_numpy(value) for value in keras.tree.flatten(outputs)]


def moments(
    model: Any, layers: list[Any], faces: npt.NDArray[np.uint8]
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return (mean, variance), each (channels,), of what each of `layers` gives for `faces`, see `between`."""
    sums = [np.zeros((2, layer.output.shape[-1])) for layer in layers]
    counts = np.zeros(len(layers))
    for values in between(model, layers, faces):
        for i, value in enumerate(v.astype(np.float64).reshape(-1, v.shape[-1]) for v in values):
            sums[i] += value.sum(axis=0), (value**2).sum(axis=0)
            counts[i] += len(value)
    means = [(total / n, squares / n) for (total, squares), n in zip(sums, counts, strict=True)]
    return [(mean, np.maximum(square - mean**2, 0)) for mean, square in means]


@dataclass(frozen=True)
class Folded:
    """A convolution of the network to be, its normalisation, and the weights that stand for both."""

    convolution: Any
    normalisation: Any
    kernel: npt.NDArray[np.float32]
    """(height, width, in, out)."""
    bias: npt.NDArray[np.float32]
    """(out,)."""


def unfold(model: Any, folded: list[Folded], faces: npt.NDArray[np.uint8]) -> None:
    """Give the layers of `folded` weights with which `model` computes what was folded, normalised over `faces`.

    `faces` (n, side, side, 1), 0-255. Other layers of `model` have their weights already.
    """
    sizes = []
    for each in folded:
        # As He et al. 2015 would have drawn it: the folded kernel has the normalisation's scale in it, and the step
        # that an optimizer takes is only as large as it should be for a kernel of the usual size.
        size = np.sqrt((each.kernel**2).sum(axis=(0, 1, 2)) / 2)
        size[size == 0] = 1.0
        each.convolution.set_weights([each.kernel / size] + [np.zeros_like(each.bias)] * each.convolution.use_bias)
        after = each.normalisation
        after.set_weights([size * np.sqrt(1 + after.epsilon), each.bias, np.zeros_like(size), np.ones_like(size)])
        sizes.append(size)
    found = moments(model, [each.convolution for each in folded], faces)
    for each, size, (mean, variance) in zip(folded, sizes, found, strict=True):
        scale = size * np.sqrt(variance + each.normalisation.epsilon)
        each.normalisation.set_weights([scale, each.bias + size * mean, mean, variance])
