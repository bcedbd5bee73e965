"""The dense layers at a network's end as convolutions: the same sums, in kernels that round alike everywhere.

FULLY_CONNECTED's reference kernels are not bit-equal in the two runtimes (tflite-runtime rounds twice where LiteRT
rounds once), those of CONV_2D are; and a convolution has a scale for each of the eight labels.
"""

from typing import Any

import numpy as np


def as_convolutions(model: Any) -> Any:
    """Return the Keras network `model` with every dense layer after its pooling or flattening as a convolution.

    It shares all other layers with `model`. A network that ends otherwise is returned as it is.
    """
    import keras

    tail: list[Any] = []
    for layer in reversed(model.operations):  # bare keras.ops, too: what is no layer must not be left out
        kind = type(layer).__name__
        if kind in {"GlobalAveragePooling2D", "Flatten"}:
            break
        if kind not in {"Dense", "Dropout"}:
            return model
        tail.insert(0, layer)
    else:
        return model
    if any(len(layer._inbound_nodes) > 1 for layer in tail):
        return model
    x = layer.input
    if kind == "GlobalAveragePooling2D":
        x = keras.layers.GlobalAveragePooling2D(keepdims=True, name=layer.name)(x)
    size = x.shape[1:3]
    for dense in tail:
        if type(dense).__name__ == "Dropout":
            continue
        kernel, *bias = dense.get_weights()
        settings = dense.get_config()
        made = keras.layers.Conv2D(
            dense.units, size, activation=settings["activation"], use_bias=settings["use_bias"], name=dense.name
        )
        x = made(x)
        made.set_weights([kernel.reshape(*size, -1, dense.units), *bias])
        size = (1, 1)
    return keras.Model(model.input, keras.layers.Reshape((int(np.prod(x.shape[1:])),))(x), name=model.name)
