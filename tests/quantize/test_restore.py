"""A released bundle becomes a network that can be trained on, and is still the network that was released."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.errors import ModelError
from agent.vision.model_card import Bundle
from quantize import pack, restore
from quantize.convert import Converted, Options, convert
from quantize.source import tensorflow_keras
from training import data
from training.batches import as_input
from training.config import Config, Phase
from training.predict import tflite

RESNET = Config(name="resnet50", model="resnet50", phases=(Phase(1, 48),), width=0.125)
CNN = Config(name="cnn", model="cnn", phases=(Phase(1, 48),))


@pytest.fixture(scope="module")
def narrow(resnet_file: Path, drawn: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The narrow ResNet-50 as a bundle: residual blocks, and normalisation folded into every convolution."""
    made = convert(resnet_file, drawn, Options(faces=64, side=48))
    return pack.write(tmp_path_factory.mktemp("narrow") / "bundle", made.card, made.model, made.golden)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_it_computes_what_the_bundle_computes(narrow: Bundle, drawn: data.Dataset) -> None:
    """Its logits on faces that set no moments differ from the integer network's by rounding only."""
    model = restore.restore(narrow, RESNET, drawn.train.faces)
    ours = model.predict(as_input(drawn.test.faces, 48), verbose=0)
    assert correlation(ours, tflite(narrow.model, "narrow", 1)(drawn.test.faces)) > 0.99


def test_training_finds_normalised_layers(narrow: Bundle, drawn: data.Dataset) -> None:
    """In training mode, where a batch's own moments count, it computes the same: those stored are the real ones."""
    model = restore.restore(narrow, RESNET, drawn.train.faces)
    faces = as_input(drawn.train.faces, 48)
    still, moving = (np.asarray(model(faces, training=mode)) for mode in (False, True))
    assert correlation(still, moving) > 0.99


def test_a_network_without_normalisation_comes_back_too(
    converted: Converted, drawn: data.Dataset, tmp_path: Path
) -> None:
    """The plain CNN's layers are numbered from anywhere; its weights go by their order."""
    bundle = pack.write(tmp_path / "bundle", converted.card, converted.model, converted.golden)
    model = restore.restore(bundle, CNN, drawn.train.faces)
    ours = model.predict(as_input(drawn.test.faces, 48), verbose=0)
    theirs = tflite(bundle.model, "cnn", 1)(drawn.test.faces)
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("other", [CNN, dataclasses.replace(RESNET, width=0.25)], ids=["model", "width"])
def test_another_network_is_refused(narrow: Bundle, drawn: data.Dataset, other: Config) -> None:
    """One line names what was expected."""
    with pytest.raises(ModelError, match=f"config {other.name}"):
        restore.restore(narrow, other, drawn.train.faces)


def test_the_command_writes_a_file_that_training_starts_from(
    converted: Converted, drawn_dir: Path, tmp_path: Path
) -> None:
    """A .keras file, and a line that says what is in it."""
    pack.write(tmp_path / "bundle", converted.card, converted.model, converted.golden)
    arguments = [tmp_path / "bundle", "cnn", "--data", drawn_dir, "--out", tmp_path / "start.keras"]
    done = CliRunner().invoke(restore.main, [str(a) for a in arguments])
    assert (done.exit_code, done.stdout) == (
        0, f"{tmp_path / 'start.keras'}: cnn, {converted.card.id}, moments of 128 training faces\n"
    )  # fmt: skip
    start = tensorflow_keras().saving.load_model(tmp_path / "start.keras")
    assert (start.output_shape, start.name) == ((None, 8), converted.card.id)
