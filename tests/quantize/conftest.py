"""A data set of drawn patterns, a small network that learned it, and a narrow ResNet-50."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.emotions import FERPLUS_COLUMNS, LABELS

pytest.importorskip("tensorflow", reason="quantize needs the train extra")

from quantize import graph
from quantize.convert import Converted, Options, convert
from quantize.source import tensorflow_keras
from training import data
from training.batches import as_input
from training.config import Config, Phase


def drawn_split(each: int, seed: int) -> data.Split:
    """Return `each` faces of every class: a class is a coarse pattern under noise; ten votes, mostly for it."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).integers(60, 196, (len(LABELS), 6, 6))
    label = np.repeat(np.arange(len(LABELS)), each)
    faces = np.kron(patterns[label], np.ones((1, 8, 8))) + rng.normal(0, 30, (len(label), 48, 48))
    votes = np.zeros((len(label), len(FERPLUS_COLUMNS)), np.int64)
    votes[np.arange(len(label)), label] = 8
    votes[np.arange(len(label)), (label + 1) % len(LABELS)] = 2
    return data.Split(np.clip(faces, 0, 255).astype(np.uint8), votes, None)


@pytest.fixture(scope="session")
def drawn() -> data.Dataset:
    """Eight classes that a small network can tell apart."""
    return data.Dataset("label.csv", drawn_split(16, 1), drawn_split(10, 2), drawn_split(10, 3))


@pytest.fixture(scope="session")
def as_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[data.Dataset], Path]:
    """A function that writes a data set in the folder layout."""

    def write(dataset: data.Dataset) -> Path:
        root = tmp_path_factory.mktemp("drawn")
        for name, folder in data.FOLDERS.items():
            (root / folder).mkdir()
            split, rows = getattr(dataset, name), []
            for i, (face, votes) in enumerate(zip(split.faces, split.votes, strict=True)):
                cv2.imwrite(str(root / folder / f"{i}.png"), face)
                rows.append(f'{i}.png,"(0, 0, 48, 48)",' + ",".join(map(str, votes)))
            (root / folder / "label.csv").write_text("\n".join(rows) + "\n")
        return root

    return write


@pytest.fixture(scope="session")
def drawn_dir(drawn: data.Dataset, as_files: Callable[[data.Dataset], Path]) -> Path:
    """`drawn` as files."""
    return as_files(drawn)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded data sets go to a folder of the test run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def cnn_file(drawn: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .keras file of the plain CNN after a few epochs on `drawn`, and beside it what `training.fit` leaves there."""
    keras = tensorflow_keras()
    from training import models

    keras.utils.set_random_seed(1)
    model = models.build(Config(name="cnn", model="cnn", phases=(Phase(1, 48),)), 48)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True))
    faces, target = data.soft_targets(drawn.train, "majority")
    model.fit(as_input(faces, 48), target, batch_size=16, epochs=4, verbose=0)
    path = tmp_path_factory.mktemp("cnn") / "final.keras"
    model.save(path)
    (path.parent / "history.csv").write_text("epoch,side\n" + "".join(f"{n},48\n" for n in range(1, 5)))
    (path.parent / "started_from.txt").write_text("cnn-48px-int8-01234567")
    return path


@pytest.fixture(scope="session")
def converted(cnn_file: Path, drawn: data.Dataset) -> Converted:
    """The CNN as an integer network with card and golden vectors, not yet written."""
    return convert(cnn_file, drawn, Options(faces=64, test=True))


@pytest.fixture(scope="session")
def layout(converted: Converted) -> graph.Graph:
    """The integer CNN."""
    return graph.read(converted.model, "cnn")


@pytest.fixture(scope="session")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow ResNet-50 as training leaves it: mixed precision, open side, batch-norm statistics of its own."""
    keras = tensorflow_keras()
    from training import models

    keras.utils.set_random_seed(2)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = models.build(Config(name="resnet50", model="resnet50", phases=(Phase(1, 32),), width=0.125), None)
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.6, 1.4, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    path = tmp_path_factory.mktemp("resnet") / "best.keras"
    model.save(path)
    return path
