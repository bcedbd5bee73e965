"""The range of a sum's branch, chosen by what the sum loses: what ReLU cuts off afterwards needs no resolution.

Of two branches that are added, one may reach far below what the other can lift above zero. All of that becomes 0 behind
the sum, yet with the range of what was seen it takes most of the 256 steps. Ranges that lose least where it counts
are an old idea for single tensors (Nagel et al. 2021, arXiv 2106.08295, section 3.1); here the loss is taken behind
the sum and its ReLU.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from agent.vision.runtime import Runtime
from quantize import graph
from quantize.graph import Op
from quantize.layers import Inspector

Floats = npt.NDArray[np.float64]

SHARES: Final = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)
"""Tried of each end of the range that was seen."""
SAMPLED: Final = 2048
"""Values of one face and one branch that are looked at."""
FACES: Final = 96


def narrow(calibrated: bytes, faces: npt.NDArray[np.uint8], runtime: Runtime) -> bytes:
    """Return the converter's float network with the ranges that it saw, those of sums' branches narrowed.

    Parameters
    ----------
    calibrated : float .tflite whose tensors carry min and max
    faces : uint8 (n, side, side, 1), 0-255, the representative set; some of them, evenly spread, are looked at
    """
    layout = graph.read(calibrated, "calibrated")
    sums = [op for op in layout.ops if op.sums]
    if not sums:
        return calibrated
    values = _values(calibrated, sums, faces[:: max(1, len(faces) // FACES)], runtime)
    made = {op.outputs[0].index for op in layout.ops if op.name == "CONV_2D"} & graph.branches(layout.ops).keys()
    found: dict[int, tuple[float, float]] = {}
    for op, pair in zip(sums, values, strict=True):
        for tensor, own, other in zip(op.inputs, pair, pair[::-1], strict=True):
            if tensor.index in made:
                found[tensor.index] = best(own, other, relu=op.activation == "RELU")
    return _written(calibrated, found)


def best(own: Floats, other: Floats, *, relu: bool) -> tuple[float, float]:
    """Return the range (low ≤ 0 ≤ high) of 256 steps for `own` that changes the sum with `other` least.

    Parameters
    ----------
    own, other : the two branches at the same places, any one shape
    relu : whether the sum goes through a ReLU
    """
    behind: Any = (lambda v: np.maximum(v, 0)) if relu else (lambda v: v)
    wanted = behind(own + other)
    low, high = min(float(own.min()), 0.0), max(float(own.max()), 0.0)
    if low == high:
        return low, high

    def loss(ends: tuple[float, float]) -> float:
        a, b = low * ends[0], high * ends[1]
        step = (b - a) / 255
        zero = np.rint(-a / step)
        stored = (np.clip(np.rint(own / step) + zero, 0, 255) - zero) * step
        return float(((behind(stored + other) - wanted) ** 2).sum())

    ends = (1.0, 1.0)
    for _ in range(2):  # one end at a time; the second round changes little
        ends = min(((share, ends[1]) for share in SHARES), key=loss)
        ends = min(((ends[0], share) for share in SHARES), key=loss)
    return low * ends[0], high * ends[1]


def _values(
    model: bytes, sums: list[Op], faces: npt.NDArray[np.uint8], runtime: Runtime
) -> list[tuple[Floats, Floats]]:
    """Return both branches of each sum at some places of every face."""
    rng = np.random.default_rng(1)
    sizes = [int(np.prod(op.outputs[0].shape)) for op in sums]
    places = [rng.choice(size, min(size, SAMPLED), replace=False) for size in sizes]
    inspector = Inspector(model, runtime)
    seen: list[tuple[list[Floats], list[Floats]]] = [([], []) for _ in sums]
    for face in tqdm(faces, desc="ranges", unit="face", mininterval=1):
        inspector.run(face)
        for op, chosen, pair in zip(sums, places, seen, strict=True):
            for tensor, column in zip(op.inputs, pair, strict=True):
                column.append(inspector.tensor(tensor.index).ravel()[chosen])
    return [(np.concatenate(a), np.concatenate(b)) for a, b in seen]


def _written(content: bytes, ranges: dict[int, tuple[float, float]]) -> bytes:
    """Return the .tflite `content` with the min and max of tensors replaced."""

    def change(model: Any, _: Any) -> bool:
        for index, (low, high) in ranges.items():
            seen = model.subgraphs[0].tensors[index].quantization
            seen.min, seen.max = np.array([low], np.float32), np.array([high], np.float32)
        return bool(ranges)

    return graph.rewritten(content, change)
