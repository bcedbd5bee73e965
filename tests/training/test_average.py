"""The mean of several networks' weights is a network to begin with."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.commands import run
from training import average, checkpoint, models, recipe
from training.config import Augment, Config, Phase

CONFIG = Config(name="c", model="cnn_bn_dropout", phases=(Phase(1, 48),), batch=16, augment=Augment(flip=False))


@pytest.fixture
def epochs(tmp_path: Path) -> list[Path]:
    """Checkpoints of three steps, with their optimizer."""
    model = recipe.compiled(CONFIG, 3)
    for n in range(1, 4):
        model.train_on_batch(np.full((16, 48, 48, 1), 80 * n), np.full((16, 8), 1 / 8))
        checkpoint.save(tmp_path, model, [{"epoch": 1}] * n, keep=3)
    return sorted(tmp_path.glob("epoch-*/model.keras"))


def test_the_mean_of_epochs(epochs: list[Path], tmp_path: Path) -> None:
    """Of each weight and each statistic of a batch normalisation, without an optimizer."""
    out = tmp_path / "start.keras"
    code, said, _ = run(average.main, *epochs, "--out", out)
    assert (code, said) == (0, f"{out}: c, the mean of 3\n")
    written = checkpoint.read(out, compiled=True)
    assert getattr(written, "optimizer", None) is None
    given = [checkpoint.read(path).get_weights() for path in epochs]
    assert any(not np.array_equal(a, b) for a, b in zip(given[0], given[2], strict=True))
    for found, *each in zip(written.get_weights(), *given, strict=True):
        np.testing.assert_allclose(found, np.mean(each, axis=0, dtype=np.float64), rtol=1e-6)


def test_what_has_no_mean_is_refused(epochs: list[Path], tmp_path: Path) -> None:
    """One model alone, a file that is not there, another network: one line, and nothing is written."""
    out, other, gone = tmp_path / "start.keras", tmp_path / "other.keras", tmp_path / "gone.keras"
    keras.utils.set_random_seed(1)
    models.build(Config(name="o", model="cnn", phases=(Phase(1, 48),)), 48).save(other)
    for code, says, paths in (
        (2, "expected two models or more, got one", epochs[:1]),
        (66, f"{gone}: no such file", [epochs[0], gone]),
        (66, f"{other}: expected the network of {epochs[0]}, got another one", [epochs[0], other]),
    ):
        ended, _, errors = run(average.main, *paths, "--out", out)
        assert ended == code
        assert says in errors
        assert errors.count("\n") == 1
    assert not out.exists()
