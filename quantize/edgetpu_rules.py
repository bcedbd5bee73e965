"""What the Edge TPU's compiler takes, read off a .tflite file's graph. Runs nothing.

Rules: "TensorFlow models on the Edge TPU" (coral.ai, model requirements), and what edgetpu_compiler 16.0 refuses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from quantize.graph import Graph, Op, Tensor

VERSIONS: Final = {
    "ADD": 2, "AVERAGE_POOL_2D": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4,
    "LOGISTIC": 2, "MAXIMUM": 2, "MAX_POOL_2D": 2, "MEAN": 2, "MINIMUM": 2, "MUL": 2, "PAD": 2, "QUANTIZE": 2,
    "RELU": 2, "RELU6": 2, "RESHAPE": 1, "SOFTMAX": 2, "SUB": 2, "TANH": 2,
}  # fmt: skip
"""Operator that this check knows → the version that its int8 form needs. A newer one asks for something beyond that."""

SOFTMAX_ELEMENTS: Final = 16_000
"""Largest input of a SOFTMAX."""


@dataclass(frozen=True)
class Finding:
    """A rule that the file breaks."""

    op: int | None
    """Position of the operator; None for the file as a whole."""
    rule: str
    unknown: bool = False
    """Whether the operator is one that this check knows no rule for: the compiler may take it."""


def check(layout: Graph) -> Iterator[Finding]:
    """Yield every rule that the graph breaks."""
    if layout.subgraphs != 1:
        yield Finding(None, f"expected one subgraph, got {layout.subgraphs}")
    for tensor in layout.tensors:
        if tensor.dynamic:
            yield Finding(None, f"{tensor.name[:60]}: expected fixed dimensions, got an open one in {tensor.shape}")
    for tensor in (*layout.inputs, *layout.outputs):
        if tensor.shape and tensor.shape[0] != 1:
            yield Finding(None, f"{tensor.name[:60]}: expected batch 1, got {tensor.shape}")
    for index, op in enumerate(layout.ops):
        if not op.custom and op.name not in VERSIONS:
            yield Finding(index, f"{op.name}: not among the operators that this check knows", unknown=True)
            continue
        for rule in _check_op(op):
            yield Finding(index, f"{op.name}: {rule}")


def _check_op(op: Op) -> Iterator[str]:
    if op.custom:
        yield "not an operator of the Edge TPU"
        return
    if op.version > VERSIONS[op.name]:
        yield f"expected version {VERSIONS[op.name]} at most, got {op.version}"
    for tensor in (*op.inputs, *op.outputs):
        yield from _check_tensor(tensor)
    if op.name in _OWN:
        yield from _OWN[op.name](op)


def _check_tensor(tensor: Tensor) -> Iterator[str]:
    if tensor.dtype in ("INT8", "UINT8"):
        if not tensor.scales:
            yield f"expected a scale, got a {tensor.dtype} without one in {tensor.name[:60]}"
    elif not (tensor.constant and tensor.dtype == "INT32"):
        yield f"expected int8, uint8 or constant int32, got {tensor.dtype} in {tensor.name[:60]}"
    if not tensor.constant and any(d != 1 for d in tensor.shape[:-3]):
        yield f"expected only the three innermost dimensions above 1, got {tensor.shape}"


def _check_activation(op: Op) -> Iterator[str]:
    if op.activation != "NONE":
        yield f"expected no fused activation, got {op.activation}"


def _check_weights(op: Op) -> Iterator[str]:
    if not op.inputs[1].constant:
        yield "expected constant weights"


def _check_convolution(op: Op) -> Iterator[str]:
    yield from _check_weights(op)
    height, width = _dilation(op)
    if height != width:
        yield f"expected the same dilation in height and width, got {height} and {width}"


def _check_depthwise(op: Op) -> Iterator[str]:
    yield from _check_weights(op)
    if _dilation(op) != (1, 1):
        yield "expected no dilation, got {} in height and {} in width".format(*_dilation(op))


def _dilation(op: Op) -> tuple[int, int]:
    return op.options.get("dilationHFactor", 1), op.options.get("dilationWFactor", 1)


def _check_dense(op: Op) -> Iterator[str]:
    yield from _check_weights(op)
    if op.inputs[1].scales > 1:
        yield f"expected per-tensor weights, got {op.inputs[1].scales} scales"
    if any(d != 1 for d in op.outputs[0].shape[:-1]):
        yield f"expected a one-dimensional output, got {op.outputs[0].shape}"


def _check_padding(op: Op) -> Iterator[str]:
    if not op.inputs[1].constant:
        yield "expected constant padding"
    elif op.inputs[1].array[[0, -1]].any():
        yield f"expected padding of height and width alone, got {op.inputs[1].array.tolist()}"


def _check_mean(op: Op) -> Iterator[str]:
    if not op.inputs[1].constant:
        yield "expected constant axes"
    elif not {axis % len(op.inputs[0].shape) for axis in op.inputs[1].array.ravel().tolist()} <= {1, 2}:
        yield f"expected a mean over height and width, got axes {op.inputs[1].array.tolist()}"


def _check_softmax(op: Op) -> Iterator[str]:
    shape = op.inputs[0].shape
    if any(d != 1 for d in shape[:-1]) or shape[-1] > SOFTMAX_ELEMENTS:
        yield f"expected a one-dimensional input of at most {SOFTMAX_ELEMENTS} elements, got {shape}"


_OWN: Final[dict[str, Callable[[Op], Iterator[str]]]] = {
    "AVERAGE_POOL_2D": _check_activation,
    "CONCATENATION": _check_activation,
    "CONV_2D": _check_convolution,
    "DEPTHWISE_CONV_2D": _check_depthwise,
    "FULLY_CONNECTED": _check_dense,
    "MAX_POOL_2D": _check_activation,
    "MEAN": _check_mean,
    "PAD": _check_padding,
    "SOFTMAX": _check_softmax,
}
"""Operator → what it alone has to keep."""
