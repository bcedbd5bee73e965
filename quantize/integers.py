"""Is every operator of a .tflite file integer? The proof is in the file, not in the converter's word."""

from typing import Final

from agent.errors import ModelError
from quantize.graph import Graph

OPS: Final = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LOGISTIC",
        "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "PAD", "PADV2", "QUANTIZE", "RELU", "RELU6", "RESHAPE",
        "SUB", "TANH",
    }
)  # fmt: skip
"""Operators that have integer kernels in both runtimes and a place in our networks."""

DTYPES: Final = frozenset({"INT8", "UINT8", "INT32"})


def check(graph: Graph, name: str) -> None:
    """Raise ModelError unless `graph` is full-integer: grey levels in, 8 logits out, all folded."""
    if bad := sorted({op.name for op in graph.ops if op.custom or op.name not in OPS}):
        raise ModelError(f"{name}: unsupported op {', '.join(bad)}; expected only {', '.join(sorted(OPS))}")
    for op in graph.ops:
        for tensor in (*op.inputs, *op.outputs):
            if tensor.dtype not in DTYPES:
                raise ModelError(
                    f"{name}: {op.name} works in {tensor.dtype} on {tensor.name[:60]!r}: a fallback to float"
                )
    _check_ends(graph, name)
    _check_folding(graph, name)


def _check_ends(graph: Graph, name: str) -> None:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or graph.subgraphs != 1:
        raise ModelError(f"{name}: expected one input, one output, one graph")
    face, logits = graph.inputs[0], graph.outputs[0]
    exact = {"INT8": (1.0, -128), "UINT8": (1.0, 0)}.get(face.dtype)
    if (face.scale, face.zero_point) != exact:
        raise ModelError(
            f"{name}: expected an int8 input of scale 1 and zero point -128 (uint8: 1, 0), got {face.dtype} "
            f"{face.scale}, {face.zero_point}; does the representative set hold grey levels 0 and 255?"
        )
    if logits.dtype != "INT8" or logits.shape != (1, 8):
        raise ModelError(f"{name}: expected 8 int8 logits, got {logits.dtype} {logits.shape}")


def _check_folding(graph: Graph, name: str) -> None:
    # Rescaling is one MUL and one ADD with constants; a batch-norm that was not folded is one more of each.
    scalings = sum(1 for op in graph.ops if op.name == "MUL")
    if scalings > 1:
        raise ModelError(f"{name}: expected batch-norm folded into convolutions, got {scalings} multiplications")
    for op in graph.ops:
        if op.name == "CONV_2D" and op.inputs[1].shape[0] > 1 and op.inputs[1].scales != op.inputs[1].shape[0]:
            raise ModelError(
                f"{name}: expected per-channel weights, got {op.inputs[1].scales} scales in {op.inputs[1].name[:60]!r}"
            )
