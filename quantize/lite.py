"""Float32 Keras network → .tflite bytes, float or full-integer."""

import io
import re
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agent.errors import ModelError, first_line
from agent.vision import runtime
from quantize import ranges
from quantize.graph import rewritten
from quantize.head import as_convolutions


def to_float(model: Any) -> bytes:
    """Return `model` as a float32 .tflite of batch 1."""
    return open_batch(run(_converter(model).convert, model.name))


def to_integer(
    model: Any, faces: npt.NDArray[np.uint8], *, input_type: Literal["int8", "uint8"] = "int8", narrow: bool = True
) -> bytes:
    """Return `model` as a full-integer .tflite of batch 1: int8 or uint8 grey levels in, int8 logits out.

    Weights are per channel, activations per tensor with the ranges that `faces` make, those of residual branches
    narrowed (`quantize.ranges`) if `narrow`. Dense layers become convolutions (`quantize.head`).

    Parameters
    ----------
    model : Keras network, float32 (n, side, side, 1), 0-255 → float32 logits (n, 8)
    faces : uint8 array of shape (n, side, side, 1), 0-255, see `quantize.representative`

    Raises
    ------
    ModelError
        an operation has no integer form
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    kind = {"int8": tf.int8, "uint8": tf.uint8}[input_type]
    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([face[np.newaxis].astype(np.float32)] for face in faces)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True
    seen = run(converter.convert, model.name)
    if narrow:
        seen = ranges.narrow(seen, faces, runtime.choose())
    return open_batch(run(lambda: mlir_quantize(seen, input_data_type=kind, output_data_type=tf.int8), model.name))


def open_batch(content: bytes) -> bytes:
    """Return a .tflite file whose reshapes keep any batch: the converter writes the batch of 1 that it saw into them.

    The input's own shape stays: one face, unless the interpreter is told another batch.
    """

    def change(model: Any, schema: Any) -> bool:
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        graph, changed = model.subgraphs[0], False
        for op in graph.operators:
            if codes[op.opcodeIndex] != schema.BuiltinOperator.RESHAPE:
                continue
            buffer = model.buffers[graph.tensors[op.inputs[1]].buffer]
            shape = np.frombuffer(bytes(buffer.data), np.int32).copy()
            if len(shape) > 1 and shape[0] == 1:
                shape[0], changed = -1, True
                buffer.data = np.frombuffer(shape.tobytes(), np.uint8)
        return changed

    return rewritten(content, change)


def version() -> str:
    """Return the converter's name and version."""
    import tensorflow as tf

    return f"tensorflow {tf.__version__} TFLiteConverter"


def _converter(model: Any) -> Any:
    """Return a TFLite converter of `model` with batch 1 and its variables frozen."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    _, height, width, channels = model.input_shape
    folded = as_convolutions(model)
    traced = tf.function(lambda face: folded(face, training=False)).get_concrete_function(
        tf.TensorSpec((1, height, width, channels), tf.float32, name="face")
    )
    # Keras 3 networks hold no trackable variables that the converter would find; constants need no finding.
    return tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(traced)])


def run(step: Callable[[], Any], name: str) -> bytes:
    """Return what a step of the TFLite converter makes, without its noise; ModelError where it refuses `name`."""
    from absl import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    noise = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(noise), redirect_stderr(noise):
            warnings.simplefilter("ignore")
            return bytes(step())
    except Exception as cause:  # the converter raises its own, and bare RuntimeErrors of its calibrator
        ops = sorted(set(re.findall(r"\btf\.(\w+)", str(cause))))
        what = f"no integer form of {', '.join(ops)}" if ops else first_line(cause)
        raise ModelError(f"{name}: the converter refused it: {what}") from cause
    finally:
        logging.set_verbosity(before)
