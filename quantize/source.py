"""A .keras file → our float32 network with a fixed input side, in Keras on TensorFlow; anything else is refused."""

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from agent.errors import InputError, ModelError, UsageError, first_line
from training.predict import check_ours


def tensorflow_keras() -> Any:
    """Return the module `keras`, with TensorFlow below it: the converter traces TensorFlow graphs only.

    Raises
    ------
    UsageError
        keras already runs on another backend in this process
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(f"expected Keras on TensorFlow, got {keras.backend.backend()}; unset KERAS_BACKEND")
    keras.config.set_image_data_format("channels_last")  # of layers made anew, whatever ~/.keras/keras.json has
    return keras


def load(path: Path, side: int | None = None) -> Any:
    """Return the network in `path`, rebuilt in float32 with `side` x `side` input.

    `side` None takes the file's own. A checkpoint of mixed precision or with an open side is welcome.

    Raises
    ------
    InputError
        no such file
    ModelError
        not a Keras file, not one of our networks, or a side that is open, or another than `side`
    """
    check_file(path)
    keras = tensorflow_keras()
    from training import checkpoint  # not at the top: it brings Keras, whose backend is chosen in the line above

    model = checkpoint.read(path)
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    check_ours(model, str(path))
    return _rebuilt(keras, model, _side(model, side, path))


def check_file(path: Path) -> None:
    """Raise InputError where `path` is no file, ModelError where it cannot be a .keras file: before Keras is there."""
    if not path.is_file():
        raise InputError(f"{path}: no such model; expected a .keras file")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: expected a .keras file, got something else (it is no zip archive)")


def _side(model: Any, side: int | None, path: Path) -> int:
    own = model.input_shape[1]
    if side is None and own is None:
        raise ModelError(f"{path}: its input side is open; take the run's final.keras, or convert with --side")
    if side is not None and own is not None and side != own:
        raise ModelError(f"{path}: its input side is {own}, not {side}")
    return int(side or own)


def _rebuilt(keras: Any, model: Any, side: int) -> Any:
    """Return `model` in float32, with its side fixed and the same weights."""
    config = model.get_config()
    for layer in config["layers"]:
        layer.pop("build_config", None)
        settings = layer["config"]
        if "dtype" in settings:
            settings["dtype"] = "float32"
        if layer["class_name"] == "InputLayer":
            settings["batch_shape"] = (None, side, side, 1)
    try:
        fixed = keras.Model.from_config(config)
    except (ValueError, TypeError) as cause:
        raise ModelError(f"{model.name}: cannot take {side} px faces: {first_line(cause)}") from cause
    fixed.set_weights(model.get_weights())
    return fixed
