"""Faster torch kernels under Keras, with the same results: batch normalisation and max pooling.

Keras computes the moments and the normalisation as separate operations, in float32; `torch.batch_norm` does both in
one pass and takes half-precision inputs. Before pooling, Keras copies to channels-first memory, whose half-precision
kernel is slow, and from then on every gradient has the wrong layout; pooling needs no copy.
`python -m pytest tests/training/test_torch_speed.py` compares the results; training/README.md has the speeds.
"""

from typing import Any

import keras


def use_fast_kernels() -> None:
    """Replace `call` of two Keras layers while the backend is torch; does nothing on other backends, or twice.

    The one difference: torch updates the running variance with the unbiased estimate, Keras with the biased one
    (a factor n / (n - 1), n = batch x height x width).
    """
    if keras.backend.backend() != "torch" or getattr(keras.layers.BatchNormalization.call, "fast", False):
        return
    keras.layers.BatchNormalization.call = _batch_norm(keras.layers.BatchNormalization.call)
    keras.layers.MaxPooling2D.call = _max_pooling(keras.layers.MaxPooling2D.call)


def _batch_norm(original: Any) -> Any:
    from torch.nn.functional import batch_norm

    def call(self: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or not self.trainable or mask is not None or self.axis not in (-1, inputs.ndim - 1):
            return original(self, inputs, training=training, mask=mask)
        normalised = batch_norm(
            inputs.movedim(-1, 1),
            self.moving_mean.value,
            self.moving_variance.value,
            self.gamma.value,
            self.beta.value,
            training=True,
            momentum=1 - self.momentum,
            eps=self.epsilon,
        )
        return normalised.movedim(1, -1)

    call.fast = True  # type: ignore[attr-defined]
    return call


def _max_pooling(original: Any) -> Any:
    from torch.nn.functional import max_pool2d

    def call(self: Any, inputs: Any) -> Any:
        if self.padding != "valid" or self.data_format != "channels_last" or inputs.device.type == "meta":
            return original(self, inputs)
        return max_pool2d(inputs.movedim(-1, 1), self.pool_size, self.strides).movedim(1, -1)

    return call
