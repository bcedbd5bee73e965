"""`python -m quantize.honest`: calibration error and bias of the mean index, with bars that fail."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.calibration import labelled, probabilities
from agent.errors import CheckFailed
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


def test_the_faces_of_the_fit_are_judged_by_cross_fitting(bundle: Path, drawn_dir: Path) -> None:
    """There the fit's own bias is 0 whatever the network is worth, so a row of held-out folds is added, and said so."""
    arguments = [str(bundle), "--data", str(drawn_dir)]
    done = {s: CliRunner().invoke(honest.main, [*arguments, "--split", s]).stdout for s in ("validation", "test")}
    assert "validation is what the calibration was fitted to: cross-fitted judges it (5 folds" in done["validation"]
    assert "cross-fitted" not in done["test"]
    rows = {r["how"]: r for r in json.loads(CliRunner().invoke(honest.main, [*arguments, "--json"]).stdout)["rows"]}
    assert abs(rows["bcts"]["bias"]) < 0.05
    assert abs(rows["cross-fitted"]["bias"]) > 0.05
    assert rows["cross-fitted"]["nll"] > rows["bcts"]["nll"]


def test_a_bias_that_folds_cancel_is_found() -> None:
    """One fold reads the room too high, the next too low: their mean is right, and the worst fold is told."""
    rng, n = np.random.default_rng(1), 1000
    logits = 2 * rng.standard_normal((n, 8))
    votes = probabilities.softmax(logits)
    for fold, (less, more) in ((0, (0, 1)), (1, (1, 0))):  # neutral and happiness have other weights
        moved = np.where(np.arange(n) % 5 == fold, votes[:, less] / 2, 0)
        votes[:, less] -= moved
        votes[:, more] += moved
    faces = scores.Labelled("validation", np.zeros((n, 1)), votes, np.ones(n, bool), votes.argmax(axis=1))
    table = weights.load(weights.DEFAULT)
    row = honest._cross_fitted(logits, faces, table)
    pooled = probabilities.index_bias(labelled.cross_fitted(logits, votes), votes, table.points)
    assert abs(pooled) < 0.3
    assert abs(row.bias) > 2
    missed = honest.Result("m", "validation", n, table.id, (row,)).missed()
    assert any("cross-fitted: expected the mean index within 1 point and the noise" in line for line in missed)


def test_a_ruined_card_misses_on_the_faces_of_the_fit_too(
    converted: Converted, drawn_dir: Path, tmp_path: Path
) -> None:
    """Cross-fitting judges how it is fitted, the device's row what was written into the card."""
    ruined = converted.card.calibration.model_copy(update={"biases": (-9.0,) * 7 + (9.0,)})
    card = converted.card.model_copy(update={"calibration": ruined})
    pack.write(tmp_path / "b", card, converted.model, converted.golden)
    done = CliRunner().invoke(honest.main, [str(tmp_path / "b"), "--data", str(drawn_dir), "--json"])
    missed = json.loads(done.stdout)["missed"]
    assert done.exit_code == 1
    assert any(line.startswith("bcts: expected a calibration error") for line in missed)
    assert any(line.startswith("bcts: expected the mean index") for line in missed)


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
    loaded, faces = Bundle.load(bundle), scores.labelled(drawn, "test", 48).faces
    logits = Network(loaded.model, runtime.choose()).logits(faces)
    votes = np.zeros((len(faces), 10), np.int64)
    votes[:, :8] = np.rint(10_000 * np.roll(scores.calibrated(logits, loaded.card.calibration), moved, axis=1))
    split = data.Split(faces[..., 0], votes, None)
    where = as_files(data.Dataset("label.csv", split, split, split))
    done = CliRunner().invoke(honest.main, [str(bundle), "--data", str(where), "--split", "test", "--json"])
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
    """ECE above 0.03 and a bias beyond 1 point either way are each a line; of a fold, beyond 1 point and its noise."""
    row = honest.Row("bcts", ece, ece, bias, 0.5, 1.0)
    assert len(honest.Result("m", "test", 100, weights.DEFAULT, (row,)).missed()) == missed
    fold = honest.Row("cross-fitted", ece, ece, float(np.sign(bias)) * (abs(bias) + 0.5), 0.5, 1.0)
    assert len(honest.Result("m", "validation", 100, weights.DEFAULT, (fold,)).missed()) == missed


def test_a_bundle_that_nobody_tested_has_the_error_of_its_fit(bundle: Path) -> None:
    """`fer-agent calibrate` takes it over, knowing that; one that was tested has the error on the test split."""
    tested = Bundle.load(bundle)
    of_fit = tuple(m for m in tested.card.metrics if m.split == "validation")
    untested = replace(tested, card=tested.card.model_copy(update={"metrics": of_fit}))
    assert [labelled.shipped(one).in_sample for one in (tested, untested)] == [False, True]
    worse = tuple(m.model_copy(update={"value": 0.06}) for m in of_fit)
    with pytest.raises(CheckFailed, match=r"0\.060 on the validation split, which it was fitted to"):
        labelled.shipped(replace(tested, card=tested.card.model_copy(update={"metrics": worse})))
