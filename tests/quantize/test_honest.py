"""`python -m quantize.honest`: calibration error and bias of the mean index, with bars that fail."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.insight import weights
from agent.vision.model_card import Bundle
from quantize import honest, pack
from quantize.convert import Converted


@pytest.fixture(scope="module")
def bundle(converted: Converted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a bundle."""
    path = tmp_path_factory.mktemp("bundle") / "small"
    pack.write(path, converted.card, converted.model, converted.golden)
    return path


def test_the_devices_row_is_the_fitted_one(bundle: Path, drawn_dir: Path) -> None:
    """On the split that it was fitted to, BCTS leaves no bias, less than temperature alone does; exit 0 or 1 by ECE."""
    done = CliRunner().invoke(honest.main, [str(bundle), "--data", str(drawn_dir), "--json"])
    result = json.loads(done.stdout)
    rows = {row["how"]: row for row in result["rows"]}
    assert abs(rows["bcts"]["bias"]) < 0.05
    assert rows["bcts"]["nll"] <= min(rows["temperature"]["nll"], rows["none"]["nll"])
    assert done.exit_code == (1 if result["missed"] else 0)


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
