"""Which .keras files are taken, and as what."""

from pathlib import Path

import numpy as np
import pytest

from agent.errors import InputError, ModelError
from quantize import source


def test_a_mixed_precision_checkpoint_becomes_float32_of_the_side_asked(resnet_file: Path) -> None:
    """Weights are the checkpoint's own; every layer computes in float32; the side is fixed."""
    keras = source.tensorflow_keras()
    stored = keras.saving.load_model(resnet_file, compile=False)
    model = source.load(resnet_file, 32)
    assert model.input_shape == (None, 32, 32, 1)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert all(np.array_equal(a, b) for a, b in zip(stored.get_weights(), model.get_weights(), strict=True))


def test_the_rebuilt_network_computes_what_the_file_does(resnet_file: Path) -> None:
    """bfloat16 keeps eight bits of mantissa: the float32 logits agree with it to a few per cent of their spread."""
    keras = source.tensorflow_keras()
    faces = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 1)).astype(np.float32)
    coarse = keras.saving.load_model(resnet_file, compile=False).predict(faces, verbose=0)
    fine = source.load(resnet_file, 32).predict(faces, verbose=0)
    assert np.corrcoef(coarse.ravel(), fine.ravel())[0, 1] > 0.98


def test_an_open_side_must_be_named(resnet_file: Path) -> None:
    """Nobody guesses the side of a network that takes any; quantize.gains and narrow have no option for it."""
    with pytest.raises(ModelError, match=r"its input side is open; take the run.s final.keras, or convert with --side"):
        source.load(resnet_file)


def test_another_side_than_the_network_has_is_refused(cnn_file: Path) -> None:
    """The plain CNN takes 48 px and nothing else."""
    with pytest.raises(ModelError, match="side is 48, not 64"):
        source.load(cnn_file, 64)


def test_a_missing_file_and_a_file_of_another_kind_are_told_apart(tmp_path: Path) -> None:
    """No such input is exit code 66, a wrong file is 78."""
    with pytest.raises(InputError, match="no such model"):
        source.load(tmp_path / "none.keras")
    wrong = tmp_path / "wrong.keras"
    wrong.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="no zip archive"):
        source.load(wrong)


def test_a_damaged_keras_file_is_one_line(cnn_file: Path, tmp_path: Path) -> None:
    """A .keras file with a hole in its weights is refused, not half-loaded."""
    content = bytearray(cnn_file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    hurt = tmp_path / "hurt.keras"
    hurt.write_bytes(content)
    with pytest.raises(ModelError, match="expected a readable Keras model") as caught:
        source.load(hurt)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "scale", "units", "activation", "says"),
    [
        ((48, 48, 3), 1 / 127.5, 8, "linear", "grey input"),
        ((48, 32, 1), 1 / 127.5, 8, "linear", "square"),
        ((48, 48, 1), 1 / 255, 8, "linear", "Rescaling"),
        ((48, 48, 1), 1 / 127.5, 7, "linear", "8 logits"),
        ((48, 48, 1), 1 / 127.5, 8, "softmax", "linear last layer"),
    ],
)
def test_a_model_that_is_not_ours_is_refused(
    shape: tuple[int, ...], scale: float, units: int, activation: str, says: str, tmp_path: Path
) -> None:
    """Colour, oblong, scaled otherwise, other classes, probabilities: each is named."""
    keras = source.tensorflow_keras()
    inputs = keras.Input(shape)
    x = keras.layers.Rescaling(scale, offset=-1.0)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    path = tmp_path / "other.keras"
    keras.Model(inputs, keras.layers.Dense(units, activation=activation)(x)).save(path)
    with pytest.raises(ModelError, match=says):
        source.load(path)


def test_a_sequential_network_is_welcome(tmp_path: Path) -> None:
    """Keras' other way to write one of our networks."""
    keras = source.tensorflow_keras()
    layers = [keras.layers.Rescaling(1 / 127.5, -1.0), keras.layers.Flatten(), keras.layers.Dense(8)]
    model = keras.Sequential([keras.Input((24, 24, 1)), *layers])
    model.save(tmp_path / "line.keras")
    face = np.full((1, 24, 24, 1), 100, np.float32)
    np.testing.assert_allclose(source.load(tmp_path / "line.keras")(face), model(face), rtol=1e-5)
