"""Published face recognition weights become a network that computes what they computed, and can be trained on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from agent.errors import InputError
from training import checkpoint, config, moments, pretrained
from training.data import Dataset

CONFIG = config.load("resnet29_faces")
STAGES = {
    "conv32": ("_1", "_2", "_3"), "conv64": ("_down", "_1", "_2", "_3"), "conv128": ("_down", "_1", "_2"),
    "conv256": ("_down", "_1", "_2", "_down_out"),
}  # fmt: skip
"""The blocks' names, as the file has them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder such as the package's: the network's tensors, drawn by chance, most of them in 8 bits."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("model")
    shapes = {"conv32_down": (7, 3, 32)}
    width = 32
    for stage, blocks in STAGES.items():
        for block in blocks:
            more = int(stage.removeprefix("conv"))
            shapes |= {f"{stage}{block}/conv1": (3, width, more), f"{stage}{block}/conv2": (3, more, more)}
            width = more
    weights, stored = [], b""
    for name, (side, given, out) in shapes.items():
        spread = np.sqrt(24 / side**2 / given)  # of a uniform distribution that keeps the size of what goes through
        for tensor, shape, scale, low in (
            ("conv/filters", [side, side, given, out], spread / 255, -spread / 2), ("conv/bias", [out], 0.002, -0.2),
            ("scale/weights", [out], 0.004, 0.5), ("scale/biases", [out], 0.002, -0.2),
        ):  # fmt: skip
            entry: dict[str, Any] = {"name": f"{name}/{tensor}", "shape": shape, "dtype": "float32"}
            levels = rng.integers(0, 256, shape).astype(np.uint8)
            if name == "conv64_1/conv1":  # the package leaves some as they were
                stored += (levels * scale + low).astype(np.float32).tobytes()
            else:
                entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
                stored += levels.tobytes()
            weights.append(entry)
    (folder / "face_recognition_model.bin").write_bytes(stored)
    manifest = [{"paths": ["face_recognition_model.bin"], "weights": weights}]
    (folder / pretrained.MANIFEST).write_text(json.dumps(manifest))
    return folder


def features(tensors: pretrained.Tensors, faces: np.ndarray) -> np.ndarray:
    """Return the pooled features of grey `faces` (n, side, side, 1) as the package's own program computes them."""
    ops = keras.ops

    def convolution(x: Any, name: str, strides: int) -> Any:
        padding = "same" if strides == 1 else "valid"
        y = ops.conv(x, tensors[f"{name}/conv/filters"], strides, padding) + tensors[f"{name}/conv/bias"]
        return y * tensors[f"{name}/scale/weights"] + tensors[f"{name}/scale/biases"]

    colour = np.repeat(faces, 3, axis=3).astype(np.float32)
    x = (colour - np.array([122.782, 117.001, 104.298], np.float32)) / 255
    x = ops.max_pool(ops.relu(convolution(x, "conv32_down", 2)), 3, 2, "valid")
    for stage, blocks in STAGES.items():
        for block in blocks:
            name, down = f"{stage}{block}", block.startswith("_down")
            y = convolution(ops.relu(convolution(x, f"{name}/conv1", 2 if down else 1)), f"{name}/conv2", 1)
            if down:
                x = ops.average_pool(x, 2, 2, "valid")
                # Zeros below and right of the smaller map, and behind the fewer channels.
                short, more = x.shape[1] - y.shape[1], y.shape[3] - x.shape[3]
                y = ops.pad(y, ((0, 0), (0, short), (0, short), (0, 0)))
                x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, more)))
            x = ops.relu(x + y)
    return keras.ops.convert_to_numpy(ops.mean(x, axis=(1, 2)))


@pytest.fixture(scope="module")
def faces(tiny: Dataset) -> np.ndarray:
    """Faces as the network takes them."""
    side = CONFIG.phases[-1].side
    return np.stack([np.kron(face, np.ones((3, 3)))[:side, :side] for face in tiny.train.faces[:16]])[..., None].astype(
        np.uint8
    )


@pytest.fixture(scope="module")
def model(folder: Path, faces: np.ndarray) -> Any:
    """The network with those weights."""
    return pretrained.start(pretrained.read(folder), CONFIG, faces)


def test_it_computes_what_the_published_network_computes(model: Any, folder: Path, faces: np.ndarray) -> None:
    """Colour, means, scales and shifts are folded into grey faces and normalised layers without a difference."""
    pooled = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    ours = keras.Model(model.input, pooled.output).predict(faces.astype(np.float32), verbose=0)
    theirs = features(pretrained.read(folder), faces)
    assert theirs.std() > 0.01
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(np.abs(theirs).max()))


def test_training_finds_the_moments_that_its_faces_have(model: Any, faces: np.ndarray) -> None:
    """Each normalisation holds the mean and variance of what its convolution gives for them."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    inputs = {id(layer.output): layer for layer in model.layers}
    found = moments.moments(model, [inputs[id(layer.input)] for layer in layers], faces)
    assert len(layers) == 29
    for layer, (mean, variance) in zip(layers, found, strict=True):
        np.testing.assert_allclose(layer.moving_mean, mean, atol=1e-3)
        np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-2, atol=1e-4)


def _damaged(change: Callable[[Path], object], folder: Path, tmp_path: Path) -> Path:
    for name in (pretrained.MANIFEST, "face_recognition_model.bin"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    change(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / pretrained.MANIFEST).unlink(), "no such file; expected the folder `model`"),
        (lambda f: (f / "face_recognition_model.bin").unlink(), "no such file; expected the folder `model`"),
        (lambda f: (f / pretrained.MANIFEST).write_text("{"), "expected TensorFlow.js' list of tensors, got JSON"),
        (lambda f: (f / pretrained.MANIFEST).write_text('{"a": 1}'), "expected TensorFlow.js' list of tensors, got"),
        (lambda f: (f / "face_recognition_model.bin").write_bytes(b"123"), "expected 4704 values of conv32_down/conv"),
    ],
)  # fmt: skip
def test_another_folder_is_refused(change: Callable, says: str, folder: Path, tmp_path: Path) -> None:
    """One line, with the file and what it should have been."""
    with pytest.raises(InputError, match=says):
        pretrained.read(_damaged(change, folder, tmp_path))


@pytest.mark.parametrize("name", ["resnet50", "cnn"])
def test_a_config_of_another_network_is_refused(name: str, folder: Path, faces: np.ndarray) -> None:
    """The tensors fit one network."""
    with pytest.raises(InputError, match=f"config {name}: expected a network of 29 convolutions"):
        pretrained.start(pretrained.read(folder), config.load(name), faces)


def test_the_command_writes_a_file_that_training_starts_from(folder: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """A .keras file, and a line that says what is in it."""
    out = tmp_path / "start.keras"
    arguments = [folder, CONFIG.name, "--data", tiny_dir, "--out", out, "--faces", 16]
    done = CliRunner().invoke(pretrained.main, [str(a) for a in arguments])
    assert (done.exit_code, done.stdout) == (
        0, f"{out}: resnet29_faces, 116 tensors of {folder}, moments of 16 training faces\n"
    )  # fmt: skip
    assert checkpoint.read(out).output_shape == (None, 8)
