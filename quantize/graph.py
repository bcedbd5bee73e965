"""A .tflite file as values: operators, tensors, sizes. Reads bytes; runs nothing."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.errors import InputError, ModelError


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph."""

    index: int
    name: str
    dtype: str
    """"INT8", "UINT8", "INT32", "FLOAT32", …"""
    shape: tuple[int, ...]
    dynamic: bool
    """Some dimension is open."""
    constant: bool
    bytes: int
    """Of its constant data; 0 for activations."""
    scales: int
    """Quantization scales: 0 none, 1 per tensor, more per channel."""
    scale: float | None
    """The first one."""
    zero_point: int | None
    data: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """Raw bytes of a constant."""

    @property
    def array(self) -> npt.NDArray[Any]:
        """The content of a constant."""
        assert self.data is not None, self.name
        return np.frombuffer(self.data.tobytes(), self.dtype.lower()).reshape(self.shape)


@dataclass(frozen=True)
class Op:
    """One operator, in the order in which it runs."""

    name: str
    """"CONV_2D", …; a custom operator's own name."""
    version: int
    custom: bool
    activation: str
    """Fused activation: "NONE", "RELU", …"""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: dict[str, Any] = field(default_factory=dict)
    """Strides, padding and the like, as the file format names them."""

    @property
    def sums(self) -> bool:
        """Whether it adds two activations, as the end of a residual block does."""
        return self.name == "ADD" and not any(t.constant for t in self.inputs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one face."""
        if self.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            return 0
        weights, out = self.inputs[1].shape, self.outputs[0].shape
        if self.name == "FULLY_CONNECTED":
            return int(np.prod(weights))
        per_output = int(np.prod(weights[1:])) if self.name == "CONV_2D" else int(np.prod(weights[1:3]))
        return int(np.prod(out[1:])) * per_output


@dataclass(frozen=True)
class Graph:
    """A whole .tflite file."""

    subgraphs: int
    ops: tuple[Op, ...]
    """Of the first subgraph."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How often each operator occurs, the most frequent first."""
        return dict(Counter(op.name for op in self.ops).most_common())

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one face."""
        return sum(op.macs for op in self.ops)

    @property
    def parameters(self) -> int:
        """Weights and biases, numbers."""
        used = {t.index: t for op in self.ops if op.macs for t in op.inputs[1:] if t.constant}
        return sum(int(np.prod(t.shape)) for t in used.values())

    @property
    def constant_bytes(self) -> int:
        """Bytes of all constant tensors that operators read."""
        used = {t.index: t for op in self.ops for t in op.inputs if t.constant}
        return sum(t.bytes for t in used.values())


def read_file(path: Path) -> tuple[bytes, Graph]:
    """Return the bytes of `path` and the graph in them; errors as `read`, and InputError if there is no such file."""
    if not path.is_file():
        raise InputError(f"{path}: no such model; expected a .tflite file or a bundle folder")
    content = path.read_bytes()
    return content, read(content, str(path))


def read(content: bytes, name: str) -> Graph:
    """Return the graph in the bytes of a .tflite file; `name` is for messages.

    Raises
    ------
    ModelError
        not a .tflite file, or a damaged one
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ModelError(f"{name}: not a TFLite model (no TFL3 mark)")
    try:
        return _graph(schema, schema.ModelT.InitFromPackedBuf(content, 0))
    except Exception as cause:  # a damaged flatbuffer fails anywhere in the generated reader
        raise ModelError(f"{name}: a damaged TFLite model ({type(cause).__name__} while reading it)") from cause


def branches(ops: Iterable[Op]) -> dict[int, tuple[Op, int]]:
    """Return, by the index of every tensor that only a sum reads, that sum and the index of its other branch."""
    ops = list(ops)
    readers = Counter(t.index for op in ops for t in op.inputs)
    return {
        own.index: (op, other.index)
        for op in ops
        if op.sums
        for own, other in (op.inputs, op.inputs[::-1])
        if readers[own.index] == 1
    }


def rewritten(content: bytes, change: Callable[[Any, Any], bool]) -> bytes:
    """Return a .tflite's bytes after `change(model, schema)`, which says whether it changed the model's objects."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if not change(model, schema):
        return content
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _names(enum: Any) -> dict[int, str]:
    return {value: key for key, value in vars(enum).items() if not key.startswith("_")}


def _graph(schema: Any, model: Any) -> Graph:
    first = model.subgraphs[0]
    dtypes = _names(schema.TensorType)
    tensors = tuple(_tensor(i, t, model.buffers, dtypes) for i, t in enumerate(first.tensors))
    codes = [_code(code, _names(schema.BuiltinOperator)) for code in model.operatorCodes]
    activations = _names(schema.ActivationFunctionType)
    ops = tuple(
        Op(
            *codes[op.opcodeIndex],
            activation=activations[getattr(op.builtinOptions, "fusedActivationFunction", 0)],
            inputs=tuple(tensors[i] for i in _list(op.inputs) if i >= 0),
            outputs=tuple(tensors[i] for i in _list(op.outputs)),
            options=dict(vars(op.builtinOptions)) if op.builtinOptions is not None else {},
        )
        for op in _list(first.operators)
    )
    ends = (tuple(tensors[i] for i in _list(side)) for side in (first.inputs, first.outputs))
    return Graph(len(model.subgraphs), ops, *ends, tensors)


def _code(code: Any, names: dict[int, str]) -> tuple[str, int, bool]:
    if code.customCode:
        return code.customCode.decode(), code.version, True
    return names[max(code.builtinCode, code.deprecatedBuiltinCode)], code.version, False


def _tensor(index: int, tensor: Any, buffers: list[Any], dtypes: dict[int, str]) -> Tensor:
    data = buffers[tensor.buffer].data
    size = 0 if data is None else len(data)
    quantization = tensor.quantization
    scales = _list(quantization.scale) if quantization is not None else []
    zeros = _list(quantization.zeroPoint) if quantization is not None else []
    return Tensor(
        index=index,
        name=tensor.name.decode() if tensor.name else "",
        dtype=dtypes[tensor.type],
        shape=tuple(int(v) for v in _list(tensor.shape)),
        dynamic=any(v < 0 for v in _list(tensor.shapeSignature)),
        constant=size > 0,
        bytes=size,
        scales=len(scales),
        scale=float(scales[0]) if scales else None,
        zero_point=int(zeros[0]) if zeros else None,
        data=None if data is None else np.asarray(data, np.uint8),
    )


def _list(values: Any) -> list[Any]:
    return [] if values is None else list(values)
