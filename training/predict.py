"""A model file → a function from faces to logits: .keras, .tflite and model bundles alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.errors import InputError, ModelError
from agent.vision import runtime
from agent.vision.preprocess import preprocess

Predictor = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]
"""uint8 faces (n, h, w), grey 0-255 → float64 logits (n, 8)."""


def load(path: Path, *, threads: int = 2) -> Predictor:
    """Return the predictor of `path`: a .keras file, a .tflite file, or a bundle folder.

    A bundle's logits are as the device uses them: calibrated as its card says.

    Raises
    ------
    InputError
        no such file, or one of another kind
    ModelError
        a file that is not what its name says, or a bundle that fails its checks
    """
    if path.is_dir():
        return _bundle(path, threads)
    if not path.is_file():
        raise InputError(f"{path}: no such model; expected a .keras or .tflite file, or a bundle folder")
    if path.suffix == ".keras":
        return _keras(path)
    if path.suffix == ".tflite":
        return tflite(path.read_bytes(), str(path), threads)
    raise InputError(f"{path}: expected a .keras or .tflite file, or a bundle folder")


def mirrored(predict: Predictor) -> Predictor:
    """Return a predictor that averages the logits of a face and of its mirror image."""
    return lambda faces: (predict(faces) + predict(np.ascontiguousarray(faces[:, :, ::-1]))) / 2


def _keras(path: Path) -> Predictor:
    import keras  # not at the top: a .tflite is measured without waiting for a backend

    from training.batches import as_input

    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError) as cause:
        raise ModelError(f"{path}: not a readable Keras model: {str(cause).splitlines()[0]}") from cause
    side = model.input_shape[1] or 48

    def predict(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        return np.asarray(model.predict(as_input(faces, side), batch_size=256, verbose=0), dtype=np.float64)

    return predict


def tflite(model: bytes, name: str, threads: int, batch: int = 1) -> Predictor:
    """Return the predictor of a .tflite file's bytes, which takes `batch` faces at a time; `name` is for messages."""
    if model[4:8] != b"TFL3":
        raise ModelError(f"{name}: not a TFLite model (no TFL3 mark)")
    interpreter = runtime.choose().interpreter(model, threads)
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    side = int(taken["shape"][1])
    if batch != 1:
        interpreter.resize_tensor_input(taken["index"], [batch, *taken["shape"][1:]])
        interpreter.allocate_tensors()

    def some(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return logits for at most `batch` faces: what is missing is filled with the last one."""
        ready = np.stack([preprocess(face, side) for face in faces])
        full = np.concatenate([ready, np.repeat(ready[-1:], batch - len(ready), axis=0)])
        interpreter.set_tensor(taken["index"], _quantized(full, taken))
        interpreter.invoke()
        return _dequantized(interpreter.get_tensor(given["index"]), given)[: len(faces)]

    return lambda faces: np.concatenate([some(faces[i : i + batch]) for i in range(0, len(faces), batch)])


def _quantized(pixels: npt.NDArray[np.uint8], tensor: dict[str, Any]) -> npt.NDArray[Any]:
    """Return `pixels`, 0-255, in the type and scale of the input `tensor`."""
    kind, (scale, zero) = tensor["dtype"], tensor["quantization"]
    if kind == np.float32:
        return pixels.astype(np.float32)
    limits = np.iinfo(kind)
    return np.clip(np.rint(pixels / scale + zero), limits.min, limits.max).astype(kind)


def _dequantized(values: npt.NDArray[Any], tensor: dict[str, Any]) -> npt.NDArray[np.float64]:
    if tensor["dtype"] == np.float32:
        return values.astype(np.float64)
    scale, zero = tensor["quantization"]
    return np.asarray((values.astype(np.float64) - zero) * scale)


def _bundle(path: Path, threads: int) -> Predictor:
    from agent.vision.classify import BATCH
    from agent.vision.model_card import Bundle

    bundle = Bundle.load(path)
    predict = tflite(bundle.model, str(path), threads, batch=BATCH)  # the converter refuses what cannot
    calibration = bundle.card.calibration
    biases = np.asarray(calibration.biases, dtype=np.float64)
    return lambda faces: predict(faces) / calibration.temperature + biases
