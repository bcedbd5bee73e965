"""Faster torch kernels under Keras, with the same results: convolution, normalisation, pooling and AdamW.

Keras computes the moments and the normalisation as separate operations, in float32; `torch.batch_norm` does both in
one pass and takes half-precision inputs. Before a convolution and before pooling, Keras copies to channels-first
memory, and often back; neither needs it, and the bias needs no pass of its own. Keras' AdamW walks over all weights
eleven times a step, torch's fused one once: for ResNet-50 that was a third of a step.
`python -m pytest tests/training/test_torch_speed.py` compares the results; training/README.md has the speeds.
"""

from typing import Any, Final

import keras

SMALL: Final = 9
"""Pixels up to which a 3 x 3 convolution on a CPU is faster as a product of matrices."""


def use_fast_kernels() -> None:
    """Replace `call` of three Keras layers, and AdamW's update, while the backend is torch; else, or twice, do nothing.

    The differences: torch updates the running variance with the unbiased estimate, Keras with the biased one (a factor
    n / (n - 1), n = batch x height x width); torch adds AdamW's epsilon after the bias correction, Keras before it.
    """
    if keras.backend.backend() != "torch" or getattr(keras.layers.BatchNormalization.call, "fast", False):
        return
    keras.layers.BatchNormalization.call = _batch_norm(keras.layers.BatchNormalization.call)
    keras.layers.Conv2D.call = _convolution(keras.layers.Conv2D.call)
    keras.layers.MaxPooling2D.call = _max_pooling(keras.layers.MaxPooling2D.call)
    _fuse(type(keras.optimizers.AdamW()))


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


def _convolution(original: Any) -> Any:
    from torch.nn.functional import conv2d

    def call(self: Any, inputs: Any) -> Any:
        odd = self.padding == "same" and self.strides == (1, 1) and all(side % 2 for side in self.kernel_size)
        if self.data_format != "channels_last" or self.groups != 1 or self.dilation_rate != (1, 1):
            return original(self, inputs)
        if not (odd or self.padding == "valid") or inputs.device.type == "meta" or self.lora_enabled:
            return original(self, inputs)
        bias = self.bias.value if self.use_bias else None
        cpu, rows = inputs.device.type == "cpu", inputs.shape[1] * inputs.shape[2]
        if cpu and (self.kernel_size == (1, 1) or (odd and self.kernel_size == (3, 3) and rows <= SMALL)):
            outputs = _product(inputs, self.kernel.value, self.strides, bias)
        else:
            padding = [side // 2 for side in self.kernel_size] if odd else 0
            kernel = self.kernel.value.permute(3, 2, 0, 1)
            outputs = conv2d(inputs.movedim(-1, 1), kernel, bias, self.strides, padding).movedim(1, -1)
        return self.activation(outputs)

    return call


def _product(inputs: Any, kernel: Any, strides: tuple[int, int], bias: Any) -> Any:
    """Return a convolution as one product of matrices: a pixel's neighbourhood (n·h·w, k·k·in) by (k·k·in, out).

    On a CPU, torch's own needs the kernel in another order, forth and back each step, and its gradient for a few
    pixels of many channels runs at a quarter of the speed: ResNet-50's last stages are all of that kind.
    """
    from torch import cat
    from torch.nn.functional import pad

    size, _, channels, filters = kernel.shape
    n, height, width, _ = inputs.shape
    if size > 1:
        edge = size // 2
        padded = pad(inputs, (0, 0, edge, edge, edge, edge))
        inputs = cat([padded[:, i : i + height, j : j + width] for i in range(size) for j in range(size)], dim=-1)
    elif strides != (1, 1):
        inputs = inputs[:, :: strides[0], :: strides[1]]
    _, height, width, _ = inputs.shape
    outputs = inputs.reshape(n * height * width, -1) @ kernel.reshape(size * size * channels, filters)
    return (outputs if bias is None else outputs + bias).reshape(n, height, width, filters)


def _max_pooling(original: Any) -> Any:
    from torch.nn.functional import max_pool2d

    def call(self: Any, inputs: Any) -> Any:
        if self.padding != "valid" or self.data_format != "channels_last" or inputs.device.type == "meta":
            return original(self, inputs)
        return max_pool2d(inputs.movedim(-1, 1), self.pool_size, self.strides).movedim(1, -1)

    return call


def _fuse(adamw: Any) -> None:
    """Give the torch backend's AdamW the fused kernel, weight decay included (Loshchilov & Hutter 2019)."""
    import torch

    def update(self: Any, grads: Any, variables: Any, learning_rate: Any) -> None:
        indices = [self._get_variable_index(variable) for variable in variables]
        rows = [
            (v.value, g, self._momentums[i].value, self._velocities[i].value, self._use_weight_decay(v))
            for v, g, i in zip(variables, grads, indices, strict=True)
        ]
        # On the weights' device: the fused kernel for CUDA reads it there.
        step = torch.tensor(float(self.iterations) + 1, device=rows[0][0].device)
        for decays in (True, False):
            group = [row[:4] for row in rows if row[4] is decays]
            if group:
                torch._fused_adamw_(
                    *map(list, zip(*group, strict=True)),
                    [],
                    [step] * len(group),
                    lr=float(learning_rate),
                    beta1=self.beta_1,
                    beta2=self.beta_2,
                    weight_decay=self.weight_decay if decays else 0.0,
                    eps=self.epsilon,
                    amsgrad=False,
                    maximize=False,
                )

    adamw._parallel_update_step = update
    adamw._apply_weight_decay = lambda self, variables: None  # noqa: ARG005 (done in the update)
