"""`python -m quantize.honest`: calibration error and bias of the mean index, with bars that fail."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.insight import weights
from agent.vision import runtime
from agent.vision.model_card import Bundle
from quantize import honest, pack, scores
from quantize.convert import Converted
from training import data
from training.network import Network


@pytest.fixture(scope="module")
def bundle(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a bundle."""
    path = tmp_path_factory.mktemp("bundle") / "small"
    pack.write(path, converted.card, converted.model, converted.golden)
    return path


def test_the_devices_row_is_the_fitted_one(bundle: Path, drawn_dir: Path) -> None:
    """On the split that it was fitted to, BCTS leaves no bias, less than temperature alone does."""
    done = CliRunner().invoke(honest.main, [str(bundle), "--data", str(drawn_dir), "--json"])
    result = json.loads(done.stdout)
    rows = {row["how"]: row for row in result["rows"]}
    assert abs(rows["bcts"]["bias"]) < 0.05
    assert rows["bcts"]["nll"] <= min(rows["temperature"]["nll"], rows["none"]["nll"])


@pytest.mark.parametrize(("moved", "code", "missed"), [(0, 0, False), (1, 1, True)], ids=["its own", "the next"])
def test_exit_code(
    moved: int,
    code: int,
    missed: bool,
    bundle: Path,
    drawn: data.Dataset,
    as_files: Callable[[data.Dataset], Path],
) -> None:
    """Votes in the shares that the bundle gives are exit 0; each for the next emotion they are exit 1, with a line."""
    loaded, faces = Bundle.load(bundle), scores.labelled(drawn, "validation", 48).faces
    logits = Network(loaded.model, runtime.choose()).logits(faces)
    votes = np.zeros((len(faces), 10), np.int64)
    votes[:, :8] = np.rint(10_000 * np.roll(scores.calibrated(logits, loaded.card.calibration), moved, axis=1))
    split = data.Split(faces[..., 0], votes, None)
    where = as_files(data.Dataset("label.csv", split, split, split))
    done = CliRunner().invoke(honest.main, [str(bundle), "--data", str(where), "--json"])
    assert done.exit_code == code
    assert bool(json.loads(done.stdout)["missed"]) is missed
    assert ("expected a calibration error of at most 0.03" in done.stderr) is missed


def test_the_card_holds_the_diagram_of_the_same_probabilities(bundle: Path) -> None:
    """The bars in the card count every face that the calibration was fitted on, and the reference sums to 1."""
    calibration = Bundle.load(bundle).card.calibration
    assert sum(n for n, _, _ in calibration.bars) == calibration.n
    assert np.shape(calibration.reference) == (16, 8)
    assert np.sum(calibration.reference) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("ece", "bias", "missed"), [(0.029, 0.9, 0), (0.031, 0.0, 1), (0.0, -1.1, 1), (0.05, 2.0, 2)])
def test_bars(ece: float, bias: float, missed: int) -> None:
    """ECE above 0.03 and a bias beyond 1 point either way are each a line."""
    row = honest.Row("bcts", ece, ece, bias, 0.5, 1.0)
    assert len(honest.Result("m", "validation", 100, weights.DEFAULT, (row,)).missed()) == missed
