"""`python -m quantize.onnx_peer`: the same weights as ONNX, float and QDQ int8, for the peers of `quantize.bench`.

The float .tflite is the source, so every engine computes one network. Runs where onnx and onnxruntime are; needs no
TensorFlow: `plan` (in the converter's environment) writes what `build` (in the peer's) reads.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]

SIMPLE: Final = {"ADD": "Add", "MUL": "Mul"}


def plan(model: bytes, faces: npt.NDArray[np.uint8], path: Path) -> None:
    """Write a float .tflite's operators and constants, and calibration faces (n, side, side, 1), to `path` (.npz)."""
    from quantize import graph

    layout = graph.read(model, path.name)
    ops: list[dict[str, Any]] = [
        {
            "name": op.name,
            "inputs": [t.index for t in op.inputs],
            "output": op.outputs[0].index,
            "shapes": [list(t.shape) for t in (*op.inputs, *op.outputs)],
            "activation": op.activation,
            "options": {k: v for k, v in op.options.items() if isinstance(v, int | float | bool)},
        }
        for op in layout.ops
    ]
    head = {
        "ops": ops,
        "input": layout.inputs[0].index,
        "output": layout.outputs[0].index,
        "side": layout.inputs[0].shape[1],
    }
    constants = {str(t.index): t.array for op in layout.ops for t in op.inputs if t.constant}
    np.savez(path, head=np.array(json.dumps(head)), faces=faces, **constants)


class _Builder:
    """Collects ONNX nodes; activations are NCHW from the first transpose on."""

    def __init__(self, constants: Arrays) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.numpy = helper, numpy_helper
        self.constants, self.nodes, self.weights = constants, [], {}

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self.weights[name] = self.numpy.from_array(np.ascontiguousarray(values), name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def add(self, op: dict[str, Any]) -> None:
        """Append `op`; its fused activation becomes a node of its own."""
        out = f"t{op['output']}"
        relu = op["activation"] == "RELU"
        target = f"{out}_linear" if relu else out
        makers = {"CONV_2D": self._conv, "PAD": self._pad, "MAX_POOL_2D": self._pool, "MEAN": self._mean}
        makers |= {"ADD": self._simple, "MUL": self._simple, "RESHAPE": self._flat}
        if op["name"] not in makers or op["activation"] not in ("NONE", "RELU"):
            raise SystemExit(f"onnx_peer: no ONNX form of {op['name']} with activation {op['activation']}")
        makers[op["name"]](op, target)
        if relu:
            self.node("Relu", [target], out)

    def _array(self, op: dict[str, Any], i: int) -> npt.NDArray[Any]:
        return self.constants[str(op["inputs"][i])]

    def _simple(self, op: dict[str, Any], out: str) -> None:
        names = []
        for index in op["inputs"]:
            stored = self.constants.get(str(index))
            names.append(f"t{index}" if stored is None else self.constant(f"c{index}", stored))
        self.node(SIMPLE[op["name"]], names, out)

    def _conv(self, op: dict[str, Any], out: str) -> None:
        kernel, bias = self._array(op, 1).transpose(0, 3, 1, 2), self._array(op, 2)
        names = [f"t{op['inputs'][0]}", self.constant(f"{out}_w", kernel), self.constant(f"{out}_b", bias)]
        self.node("Conv", names, out, kernel_shape=kernel.shape[2:], **_window(op, kernel.shape[2:]))

    def _pool(self, op: dict[str, Any], out: str) -> None:
        kernel = [op["options"]["filterHeight"], op["options"]["filterWidth"]]
        self.node("MaxPool", [f"t{op['inputs'][0]}"], out, kernel_shape=kernel, **_window(op, kernel))

    def _pad(self, op: dict[str, Any], out: str) -> None:
        before, after = self._array(op, 1)[[0, 3, 1, 2]].T  # NHWC → NCHW
        pads = self.constant(f"{out}_pads", np.concatenate([before, after]).astype(np.int64))
        self.node("Pad", [f"t{op['inputs'][0]}", pads], out, mode="constant")

    def _mean(self, op: dict[str, Any], out: str) -> None:
        self.node("GlobalAveragePool", [f"t{op['inputs'][0]}"], out)

    def _flat(self, op: dict[str, Any], out: str) -> None:
        self.node("Flatten", [f"t{op['inputs'][0]}"], out)  # the logits' one pixel


def _window(op: dict[str, Any], kernel: Any) -> dict[str, Any]:
    """Return strides and pads; TFLite's SAME pads more at the end where the padding is odd."""
    options, size, out = op["options"], op["shapes"][0][1:3], op["shapes"][-1][1:3]
    strides = [options["strideH"], options["strideW"]]
    total = [0, 0]
    if options["padding"] == 0:
        total = [max(0, (o - 1) * s + k - n) for o, s, k, n in zip(out, strides, kernel, size, strict=True)]
    return {"strides": strides, "pads": [t // 2 for t in total] + [t - t // 2 for t in total]}


def build(source: Path, folder: Path) -> None:
    """Write `folder`/float.onnx and `folder`/int8.onnx of the plan in `source`."""
    import onnx
    from onnx import TensorProto

    with np.load(source) as stored:
        arrays = dict(stored)
    head = json.loads(str(arrays.pop("head")))
    faces, side = arrays.pop("faces"), head["side"]
    builder = _Builder(arrays)
    builder.node("Transpose", ["face"], f"t{head['input']}", perm=[0, 3, 1, 2])
    for op in head["ops"]:
        builder.add(op)
    helper = builder.helper
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", side, side, 1])
    logits = helper.make_tensor_value_info(f"t{head['output']}", TensorProto.FLOAT, ["n", 8])
    made = helper.make_graph(builder.nodes, "fer", [face], [logits], list(builder.weights.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "float.onnx")
    _quantize(folder, faces)


def _quantize(folder: Path, faces: npt.NDArray[np.uint8]) -> None:
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(faces.astype(np.float32))

        def get_next(self) -> Any:
            face = next(self.left, None)
            return None if face is None else {"face": face[np.newaxis]}

    q.quant_pre_process(folder / "float.onnx", folder / "ready.onnx", skip_symbolic_shape=True)
    q.quantize_static(
        folder / "ready.onnx", folder / "int8.onnx", Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
        activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8,
    )  # fmt: skip


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
