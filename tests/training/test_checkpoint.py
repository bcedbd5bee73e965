"""What an epoch leaves on the disk; a full disk costs no checkpoint."""

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from agent.errors import ModelError
from tests.training.runs import CONFIG, STILL, trained
from training import checkpoint, models, recipe


def restored(run: Path) -> tuple[int, keras.Model]:
    found = checkpoint.latest(run)
    assert found is not None
    model = recipe.compiled(CONFIG, 1)
    found.restore(model)
    return found.epoch, model


def test_a_checkpoint_holds_weights_and_optimizer(tmp_path: Path) -> None:
    """Restored, both are what they were."""
    model = trained()
    checkpoint.save(tmp_path, model, [{"epoch": 1}])
    epoch, again = restored(tmp_path)
    assert epoch == 1
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(a, b)
    for a, b in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def test_what_is_written_to_be_used_has_no_optimizer(tmp_path: Path) -> None:
    """Keras would put it in, two thirds of the file, unasked: a small disk fills up twice as fast."""
    model = trained()
    checkpoint.write(model, tmp_path / "best.keras")
    checkpoint.save(tmp_path, model, [{"epoch": 1}])
    assert getattr(checkpoint.read(tmp_path / "best.keras", compiled=True), "optimizer", None) is None
    sizes = [(tmp_path / name).stat().st_size for name in ("best.keras", "epoch-0001/model.keras")]
    assert sizes[0] < 0.5 * sizes[1]
    for a, b in zip(model.get_weights(), checkpoint.read(tmp_path / "best.keras").get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_what_is_named_like_a_checkpoint_stays_and_counts_for_none(tmp_path: Path) -> None:
    """Notes and copies that somebody puts beside them: one was deleted as the oldest, and the newest is an epoch."""
    (tmp_path / "epoch-notes.txt").write_text("the best so far")
    for name in ("epoch-3", "epoch-0001-copy"):
        (tmp_path / name).mkdir()
    model = trained()
    for epoch in (1, 2, 3):
        checkpoint.save(tmp_path, model, [{"epoch": 1}] * epoch)
    names = ["epoch-0001-copy", "epoch-0002", "epoch-0003", "epoch-3", "epoch-notes.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_checkpoints_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Epoch 10,000 is newer than epoch 9,999."""
    for epoch in (9_999, 10_000):
        folder = tmp_path / f"epoch-{epoch}"
        folder.mkdir()
        (folder / "model.keras").touch()
        (folder / "history.json").write_text(json.dumps([{}] * epoch))
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.epoch == 10_000


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """The one before it is used."""
    model = trained()
    for n in (1, 2):
        checkpoint.save(tmp_path, model, [{"epoch": 1}] * n)
    (tmp_path / "epoch-0002" / "history.json").write_text("[{")
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.epoch == 1


def test_a_damaged_model_in_a_checkpoint_says_how_to_go_on(tmp_path: Path) -> None:
    """Whole by its names, and its weights cut off: which folder to delete is in the line."""
    checkpoint.save(tmp_path, trained(), [{"epoch": 1}])
    model = tmp_path / "epoch-0001" / "model.keras"
    model.write_bytes(model.read_bytes()[:5000])
    with pytest.raises(
        ModelError, match=r"expected a readable Keras model.*; delete .*/epoch-0001 to go on from the ep"
    ):
        restored(tmp_path)


def test_a_file_that_may_not_grow_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    """With a limit on the size of files, as a quota sets it."""
    checkpoint.save(tmp_path, trained(), [{"epoch": 1}])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(OSError, match=r"."):
            checkpoint.save(tmp_path, trained(), [{"epoch": 1}] * 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-0001"]
    assert restored(tmp_path)[0] == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 30 MB, which holds one checkpoint of 18 MB and not two."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no right to mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_previous_checkpoint(small_disk: Path) -> None:
    """ENOSPC in the middle of a checkpoint: an OSError, nothing half-written, and the first one restores."""
    checkpoint.save(small_disk, trained(), [{"epoch": 1}])
    with pytest.raises(OSError, match=r"."):
        checkpoint.save(small_disk, trained(), [{"epoch": 1}] * 2)
    assert [p.name for p in small_disk.iterdir()] == ["epoch-0001"]
    assert restored(small_disk)[0] == 1


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_keras_file_is_one_line(keep: float, tmp_path: Path) -> None:
    """Cut off anywhere, whatever Keras and zipfile raise."""
    models.build(STILL, 48).save(tmp_path / "whole.keras")
    content = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ModelError, match=r"cut.keras: expected a readable Keras model") as caught:
        checkpoint.read(tmp_path / "cut.keras")
    assert "\n" not in str(caught.value)


def test_a_model_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut must not leave an empty final.keras: first the content is flushed, then it is renamed."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda d: done.append(Path(f"/proc/self/fd/{d}").readlink().name) or fsync(d))
    monkeypatch.setattr(Path, "replace", lambda own, to: done.append(f"-> {to.name}") or replace(own, to))
    checkpoint.write(models.build(STILL, 48), tmp_path / "final.keras")
    assert done == ["final.partial.keras", "-> final.keras", tmp_path.name]
