"""A model file → a function from faces to logits: .keras, .tflite and model bundles alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agent.emotions import LABELS
from agent.errors import InputError, ModelError
from agent.vision import runtime
from agent.vision.preprocess import preprocess
from training import upright as second_look
from training.network import Network

RESCALING: Final = (1 / 127.5, -1.0)
"""(scale, offset) of the first layer of every network in training/models.py."""

Predictor = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]
"""uint8 faces (n, h, w), grey 0-255 → float64 logits (n, 8)."""


def load(path: Path, *, threads: int = 2, title: str | None = None) -> Predictor:
    """Return the predictor of `path`: a .keras file, a .tflite file, or a bundle folder; `title` shows a progress bar.

    A bundle's logits are as the device uses them: calibrated as its card says.

    Raises
    ------
    InputError
        no such file, or one of another kind
    ModelError
        a file that is not what its name says, or a bundle that fails its checks
    """
    if path.is_dir():
        return _bundle(path, threads, title)
    if not path.is_file():
        raise InputError(f"{path}: no such model; expected a .keras or .tflite file, or a bundle folder")
    if path.suffix == ".keras":
        return _finite(_keras(path, title), path)
    if path.suffix == ".tflite":
        return _finite(tflite(path.read_bytes(), str(path), threads, title=title), path)
    raise InputError(f"{path}: expected a .keras or .tflite file, or a bundle folder")


def _finite(predict: Predictor, path: Path) -> Predictor:
    """Return `predict`, raising ModelError for logits that are no numbers."""

    def checked(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        logits = predict(faces)
        if broken := int((~np.isfinite(logits).all(axis=1)).sum()):
            raise ModelError(f"{path}: expected finite logits, got others for {broken} of {len(faces)} faces")
        return logits

    return checked


def looking(predict: Predictor, *, flip: bool = False, upright: bool = False) -> Predictor:
    """Return a predictor that averages the logits of a face, of its mirror image and of itself upright; with both, of
    all four."""
    if not flip and not upright:
        return predict

    def average(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        looks = [faces, second_look.turned(faces)] if upright else [faces]
        if flip:
            looks += [np.ascontiguousarray(look[:, :, ::-1]) for look in looks]
        return np.asarray(np.mean([predict(look) for look in looks], axis=0))

    return average


def check_ours(model: Any, name: str) -> None:
    """Raise ModelError unless `model` takes raw grey faces, scales them itself and gives one logit a label."""
    shape_in, shape_out = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if not isinstance(shape_in, tuple) or len(shape_in) != 4 or shape_in[3] != 1 or shape_in[1] != shape_in[2]:
        raise ModelError(f"{name}: not ours: expected one square grey input (n, side, side, 1), got {shape_in}")
    if shape_out != (None, len(LABELS)):
        raise ModelError(f"{name}: not ours: expected {len(LABELS)} logits, got output {shape_out}")
    steps = getattr(model, "operations", model.layers)  # layers, and bare keras.ops
    first = next((step for step in steps if type(step).__name__ != "InputLayer"), None)
    config = first.get_config() if first is not None else {}
    if type(first).__name__ != "Rescaling" or (config["scale"], config["offset"]) != RESCALING:
        raise ModelError(
            f"{name}: not ours: expected Rescaling{RESCALING} as the first layer, got {type(first).__name__}"
        )
    last = steps[-1].get_config()
    if last.get("activation") != "linear":
        raise ModelError(
            f"{name}: not ours: expected logits (a linear last layer), got activation {last.get('activation')}"
        )


def _keras(path: Path, title: str | None) -> Predictor:
    from training import checkpoint, progress  # not at the top: a .tflite is measured without waiting for Keras
    from training.batches import as_input

    model = checkpoint.read(path)
    check_ours(model, str(path))
    side = model.input_shape[1]
    if side is None:
        raise ModelError(f"{path}: expected a fixed input side, got an open one; use the run's final.keras")

    def predict(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        found = model.predict(as_input(faces, side), batch_size=256, verbose=0, callbacks=progress.bars(title))
        return np.asarray(found, dtype=np.float64)

    return predict


def tflite(model: bytes, name: str, threads: int, batch: int = 1, title: str | None = None) -> Predictor:
    """Return the predictor of a .tflite file's bytes, which takes `batch` faces at a time; `name` is for messages.

    `title` shows a progress bar.
    """
    if model[4:8] != b"TFL3":
        raise ModelError(f"{name}: not a TFLite model (no TFL3 mark)")
    from ai_edge_litert.schema_py_generated import (
        BuiltinOperator,
        ModelT,
    )  # not at the top: half a megabyte of code for one look

    try:  # first, as the native reader ends the process over a file that ends early
        parsed = ModelT.InitFromPackedBuf(model, 0)
        graph = parsed.subgraphs[0]
        shape, out = (tuple(map(int, graph.tensors[ends[0]].shape)) for ends in (graph.inputs, graph.outputs))
    except Exception as cause:  # the generated reader fails anywhere
        what = type(cause).__name__
        raise ModelError(f"{name}: expected a whole TFLite model, got a damaged one ({what})") from cause
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 1 or out[1:] != (len(LABELS),):
        wanted = f"one square grey face in, {len(LABELS)} logits out"
        raise ModelError(f"{name}: not ours: expected {wanted}, got {shape} and {out}")
    last = parsed.operatorCodes[graph.operators[-1].opcodeIndex]
    if max(last.builtinCode, last.deprecatedBuiltinCode) == BuiltinOperator.SOFTMAX:  # older files have the second one
        raise ModelError(f"{name}: not ours: expected logits, got probabilities (SOFTMAX is the last operator)")
    network = Network(model, runtime.choose(), threads=threads, batch=batch)
    return lambda faces: network.logits(np.stack([preprocess(face, network.side) for face in faces]), title)


def _bundle(path: Path, threads: int, title: str | None) -> Predictor:
    from agent.vision.classify import BATCH
    from agent.vision.model_card import Bundle

    bundle = Bundle.load(path)
    predict = tflite(bundle.model, str(path), threads, BATCH, title)  # the converter refuses what cannot
    calibration = bundle.card.calibration
    biases = np.asarray(calibration.biases, dtype=np.float64)
    return lambda faces: predict(faces) / calibration.temperature + biases
