"""Which epochs are kept, which one is the best, and when there is no point in more."""

from pathlib import Path

import keras
import pytest

from agent.errors import FerAgentError
from tests.training.runs import trained
from training import keeper


@pytest.mark.parametrize("keep", [2, 3])
def test_only_the_last_checkpoints_stay(keep: int, tmp_path: Path) -> None:
    """Older ones make room."""
    keeping = keeper.Keeper(tmp_path, [], None, keep)
    keeping.set_model(trained())
    for epoch in range(4):
        keeping.on_epoch_end(epoch, {"loss": 1.0, "val_accuracy": 0.5})
    assert sorted(p.name for p in tmp_path.glob("epoch-*")) == [f"epoch-{n:04d}" for n in range(5 - keep, 5)]


def kept(run: Path, model: keras.Model, side: int, values: list[float], patience: int | None = None) -> None:
    """Let a run keep epochs of these validation accuracies, after one of 0.9 at 32 px."""
    keep = keeper.Keeper(run, [{"epoch": 1, "side": 32, "loss": 1.0, "val_accuracy": 0.9}], patience)
    keep.set_model(model)
    keep.side, keep.first = side, 0 if side == 32 else 1
    for epoch, value in enumerate(values, 1):
        keep.on_epoch_end(epoch, {"loss": 1.0, "val_accuracy": value})


def test_the_best_model_is_one_of_the_last_side(tmp_path: Path) -> None:
    """What was better at a smaller input does not compare: the first epoch at the released side is kept."""
    kept(tmp_path, trained(), 48, [0.5])
    assert (tmp_path / "best.keras").is_file()


def test_the_best_model_is_one_of_the_last_phase(tmp_path: Path) -> None:
    """A side that comes again is another phase: what was better before the last phase is not released."""
    keep = keeper.Keeper(tmp_path, [{"epoch": 1, "side": 32, "loss": 1.0, "val_accuracy": 0.9}], None)
    keep.set_model(trained())
    keep.side, keep.first = 32, 1
    keep.on_epoch_end(1, {"loss": 1.0, "val_accuracy": 0.5})
    assert (tmp_path / "best.keras").is_file()


def test_a_worse_epoch_does_not_replace_the_best_model(tmp_path: Path) -> None:
    """At one side the best validation accuracy stays."""
    kept(tmp_path, trained(), 32, [0.8])
    assert not (tmp_path / "best.keras").is_file()


def test_training_stops_without_progress(tmp_path: Path) -> None:
    """With a patience of 2, the third epoch after the best one is not trained; history.csv has what was."""
    model = trained()
    kept(tmp_path, model, 48, [0.5, 0.4], patience=2)
    assert not model.stop_training
    kept(tmp_path, model, 48, [0.5, 0.4, 0.45], patience=2)
    assert model.stop_training
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 5


def test_a_loss_that_is_no_number_says_how_to_begin_again(tmp_path: Path) -> None:
    """Nothing of that epoch is kept, and the folder is another run's as soon as the rate is another."""
    keep = keeper.Keeper(tmp_path, [], None)
    with pytest.raises(FerAgentError, match="epoch 1: the loss is nan; lower learning_rate and name another folder"):
        keep.on_epoch_end(0, {"loss": float("nan"), "val_accuracy": 0.5})
    assert list(tmp_path.iterdir()) == []
