"""Layer by layer: how far the integer network's values are from the float network's, as a signal-to-noise ratio.

Three ratios a layer, decibels (6 dB are one bit): `weights` of its integer weights alone; `own` of rounding and
clipping the float network's activation to this layer's scale; `total` of what really arrives, all earlier layers'
errors included. A branch that only goes into a residual sum is looked at behind the sum and its ReLU, the other branch
exact: what is cut off there does no harm. The layer that hurts is the one with the lowest `own` or `weights`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from agent.errors import ModelError
from agent.vision.runtime import Runtime
from quantize.graph import Graph, Op, branches

IGNORED: Final = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE"})
"""Operators that only one of the two networks may have, or that compute nothing."""


@dataclass(frozen=True)
class Layer:
    """One operator in both networks."""

    index: int
    """Position in the integer network."""
    op: str
    name: str
    weights_db: float | None
    """None where it has no weights."""
    own_db: float
    total_db: float


def table(
    float_model: bytes, float_graph: Graph, model: bytes, graph: Graph, faces: npt.NDArray[np.uint8], runtime: Runtime
) -> list[Layer]:
    """Return a row for every operator, in order, measured on `faces` (n, side, side, 1).

    Raises
    ------
    ModelError
        the two files are not the same network
    """
    pairs = paired(float_graph, graph)
    sums = branches(a for a, _ in pairs)
    exact, coded = Inspector(float_model, runtime), Inspector(model, runtime)
    powers = np.zeros((len(pairs), 3))  # signal, own noise, total noise: sums of squares
    for face in tqdm(faces, desc="layers", unit="face", mininterval=1):
        exact.run(face)
        coded.run(face)
        for row, (a, b) in enumerate(pairs):
            seen = [exact.value(a), coded.value(b), coded.rounded(b, exact.value(a))]
            if (branch := sums.get(a.outputs[0].index)) is not None:
                seen = [_behind(value, *branch, exact) for value in seen]
            powers[row] += _noise(*seen)
    return [
        Layer(
            index=b_index,
            op=b.name,
            name=_short(b.outputs[0].name),
            weights_db=_weights(exact, a, coded, b),
            own_db=_db(signal, own),
            total_db=_db(signal, total),
        )
        for (signal, own, total), (a, b), b_index in zip(powers, pairs, _indices(graph), strict=True)
    ]


def paired(float_graph: Graph, graph: Graph) -> list[tuple[Op, Op]]:
    """Return each operator of the float network with the same one of the integer network, in order.

    Raises
    ------
    ModelError
        the two files are not the same network
    """
    pairs = list(zip_longest(*([op for op in g.ops if op.name not in IGNORED] for g in (float_graph, graph))))
    for position, (a, b) in enumerate(pairs):
        if _what(a) != _what(b):
            raise ModelError(
                f"expected the same operators in both files, got {_what(a)} in the float and {_what(b)} in the integer "
                f"network at position {position}; name the float network that the integers were made of"
            )
    return pairs


def _what(op: Op | None) -> str:
    return "none" if op is None else f"{op.name} {op.outputs[0].shape}"


def _behind(value: npt.NDArray[np.float64], op: Op, other: int, exact: "Inspector") -> npt.NDArray[np.float64]:
    """Return what the sum `op` makes of a branch's `value` and its exact other branch, the tensor `other`."""
    total = value + exact.tensor(other)
    return np.maximum(total, 0) if op.activation == "RELU" else total


def worst(rows: list[Layer]) -> Layer:
    """Return the layer that hurts most by itself."""
    return min(rows, key=lambda row: min(row.own_db, float("inf") if row.weights_db is None else row.weights_db))


def _indices(graph: Graph) -> Iterator[int]:
    return (i for i, op in enumerate(graph.ops) if op.name not in IGNORED)


class Inspector:
    """A network that keeps every tensor, at the price of speed."""

    def __init__(self, model: bytes, runtime: Runtime) -> None:
        self._interpreter = runtime.module.Interpreter(
            model_content=model,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            # XNNPACK fuses operators and leaves the tensors between them empty.
            experimental_op_resolver_type=runtime.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        self._details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        self._input = self._interpreter.get_input_details()[0]

    def run(self, face: npt.NDArray[np.uint8]) -> None:
        kind = self._input["dtype"]
        shifted = face.astype(np.int16) - (128 if kind == np.int8 else 0)
        self._interpreter.set_tensor(self._input["index"], shifted[np.newaxis].astype(kind))
        self._interpreter.invoke()

    def value(self, op: Op) -> npt.NDArray[np.float64]:
        """Return what `op` gave, as real numbers."""
        return self.tensor(op.outputs[0].index)

    def tensor(self, index: int) -> npt.NDArray[np.float64]:
        """Return a tensor as real numbers."""
        values = self._interpreter.get_tensor(index).astype(np.float64)
        how = self._details[index]["quantization_parameters"]
        if not len(how["scales"]):
            return np.asarray(values)
        scales, zeros = (_along(how[k], how["quantized_dimension"], values.ndim) for k in ("scales", "zero_points"))
        return np.asarray((values - zeros) * scales)

    def rounded(self, op: Op, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return real `values` rounded and clipped as the output of `op` stores them."""
        detail = self._details[op.outputs[0].index]
        scale, zero_point = detail["quantization"]
        limits = np.iinfo(detail["dtype"])
        return np.asarray((np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max) - zero_point) * scale)


def _along(values: Any, axis: int, ndim: int) -> npt.NDArray[np.float64]:
    """Return per-channel `values` shaped to broadcast along `axis`."""
    array = np.asarray(values, dtype=np.float64)
    return array.reshape([-1 if i == axis else 1 for i in range(ndim)]) if array.size > 1 else array


def _noise(exact: Any, coded: Any, rounded: Any) -> tuple[float, float, float]:
    return float((exact**2).sum()), float(((exact - rounded) ** 2).sum()), float(((exact - coded) ** 2).sum())


def _weights(exact: Inspector, a: Op, coded: Inspector, b: Op) -> float | None:
    if not b.macs:
        return None
    real, integer = exact.tensor(a.inputs[1].index), coded.tensor(b.inputs[1].index)
    return _db(float((real**2).sum()), float(((real - integer) ** 2).sum()))


def _db(signal: float, noise: float) -> float:
    if not noise:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def _short(name: str) -> str:
    """Return the layer's own name out of the converter's: "resnet50_1/conv1_conv_1/Relu;…" → "conv1_conv_1/Relu"."""
    first = name.split(";")[0]
    return first.split("/", 1)[-1][:48]
