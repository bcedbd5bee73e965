"""The arithmetic limit: how many int8 multiply-accumulates a second this machine does in a large matrix product."""

from pathlib import Path
from typing import Final

import numpy as np

from quantize import lite
from quantize.elsewhere import Job, Places

SIZE: Final = 1024
"""Rows, columns and depth of the product: large enough that arithmetic dominates, small enough for the cache."""


def matrix_product() -> bytes:
    """Return a full-integer .tflite of one SIZE x SIZE x SIZE matrix product."""
    from quantize.source import tensorflow_keras

    tensorflow_keras()
    import tensorflow as tf

    rng = np.random.default_rng(1)
    weights = tf.constant(rng.normal(size=(SIZE, SIZE)), tf.float32)
    product = tf.function(lambda x: tf.matmul(x, weights)).get_concrete_function(
        tf.TensorSpec((SIZE, SIZE), tf.float32)
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([product])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([rng.normal(size=(SIZE, SIZE)).astype(np.float32)] for _ in range(2))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return lite.run(converter.convert, "matrix product")


def rate(places: Places, model: Path, threads: int, seconds: float) -> dict[str, float]:
    """Return engine → int8 multiply-accumulates a second in `model`, which holds `matrix_product()`."""
    operand = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
    return {
        name: SIZE**3 / float(np.median(places.times(Job(name, str(model), threads, SIZE, seconds), operand)))
        for name in ("litert", "openvino")
        if name in places.python
    }
