"""A run that is killed goes on as if nothing had happened; a full disk costs no checkpoint."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from agent.errors import FerAgentError, InputError, ModelError
from tests.training.conftest import environment
from training import checkpoint, data, distill, keeper, loop, models, recipe, record
from training.config import Augment, Config, Phase

CONFIG_FILE = """
from training.config import Augment, Config, Phase
CONFIG = Config(
    name="small", model="cnn_bn_dropout", phases=(Phase(4, 48),), batch=16, optimizer="adamw", learning_rate=1e-3,
    augment=Augment(flip=True, rotate=10, erase=0.5), mixup=0.2, ema=0.9,
)
"""
"""Everything random is on: order, augmentation, dropout, mixup; and the optimizer has an average of weights."""


class Run:
    """`training.fit` in a process of its own."""

    def __init__(self, folder: Path, tiny_dir: Path) -> None:
        self.run, self._folder = folder / "run", folder
        (folder / "small.py").write_text(CONFIG_FILE)
        self._command = [sys.executable, "-m", "training.fit", str(folder / "small.py"), "--data", str(tiny_dir)]
        self._command += ["--run", str(self.run)]

    def start(self, *more: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*self._command, *more], env=environment(keras.backend.backend(), self._folder / "cache"), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def finish(self, *more: str) -> list[dict[str, float]]:
        process = self.start(*more)
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-3000:]
        assert (self.run / "final.keras").is_file()
        return json.loads((self.run / "epoch-0004" / "history.json").read_text())

    def kill_when(self, name: str, *more: str) -> None:
        """Start, and kill -9 as soon as `name` is in the run's folder."""
        process = self.start(*more)
        try:
            while not (self.run / name).exists():
                assert process.poll() is None, "it ended before the moment of the kill"
                time.sleep(0.001)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def uninterrupted(tiny_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """The curve of four epochs without a break."""
    return Run(tmp_path_factory.mktemp("whole"), tiny_dir).finish()


@pytest.mark.timeout(900)
def test_killed_twice_and_resumed_the_curve_is_the_same(
    uninterrupted: list[dict[str, float]], tiny_dir: Path, tmp_path: Path
) -> None:
    """SIGKILL while a checkpoint is being written, and again in the middle of a later epoch: not a number changes."""
    run = Run(tmp_path, tiny_dir)
    run.kill_when(".epoch-0002.partial")
    run.kill_when("epoch-0003", "--resume")
    found = run.finish("--resume")
    assert len(found) == len(uninterrupted) == 4
    for mine, whole in zip(found, uninterrupted, strict=True):
        assert mine == pytest.approx(whole, rel=1e-4, abs=1e-6)


def test_a_run_that_is_there_is_not_overwritten(tiny_dir: Path, tmp_path: Path) -> None:
    """Without --resume a folder that holds a run is refused in one line."""
    run = Run(tmp_path, tiny_dir)
    (run.run / "epoch-0001").mkdir(parents=True)
    (run.run / "epoch-0001" / "model.keras").touch()
    (run.run / "epoch-0001" / "history.json").write_text("[{}]")
    process = run.start()
    _, errors = process.communicate()
    assert process.returncode == 66
    assert errors.splitlines()[-1].startswith("error: ")
    assert "--resume" in errors.splitlines()[-1]


CONFIG = Config(name="c", model="cnn", phases=(Phase(2, 48),), batch=16, optimizer="adamw", augment=Augment(flip=False))


def trained() -> keras.Model:
    """Return a model after one step, so that its optimizer has a state."""
    model = recipe.compiled(CONFIG, 1)
    model.train_on_batch(np.zeros((16, 48, 48, 1)), np.full((16, 8), 1 / 8))
    return model


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


def test_a_folder_is_for_one_run_at_a_time(tiny_dir: Path, tmp_path: Path) -> None:
    """Two would take each other's files away."""
    run = Run(tmp_path, tiny_dir)
    with checkpoint.alone(run.run):
        process = run.start("--resume")
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 66
    assert f"error: {run.run}: another run is at work in this folder" in errors


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_file_is_no_folder_for_a_run(name: str, tmp_path: Path) -> None:
    """There or above: one line that names it."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"/{name}: expected a folder for the run, got a file at"):
        checkpoint.alone(tmp_path / name).__enter__()


@pytest.mark.parametrize("keep", [2, 3])
def test_only_the_last_checkpoints_stay(keep: int, tmp_path: Path) -> None:
    """Older ones make room."""
    keeping = keeper.Keeper(tmp_path, [], None, keep)
    keeping.set_model(trained())
    for epoch in range(4):
        keeping.on_epoch_end(epoch, {"loss": 1.0, "val_accuracy": 0.5})
    assert sorted(p.name for p in tmp_path.glob("epoch-*")) == [f"epoch-{n:04d}" for n in range(5 - keep, 5)]


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


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", ["history.csv", "final.keras"])
def test_what_is_left_of_a_run_is_not_overwritten(name: str, resume: bool, tiny: data.Dataset, tmp_path: Path) -> None:
    """Its checkpoints were deleted for room, or both are damaged: a new run does not begin in their place."""
    (tmp_path / name).write_text("a day's work")
    with pytest.raises(InputError, match=rf"holds {name} and no whole checkpoint; a new run needs another folder"):
        loop.fit(STILL, tiny, tmp_path, resume=resume, verbose=0)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "a day's work")]


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


STILL = Config(name="still", model="cnn", phases=(Phase(1, 48),), batch=16, learning_rate=1e-12, weight_decay=0)


def test_a_new_run_starts_from_a_file(tiny: data.Dataset, tmp_path: Path) -> None:
    """With a rate that moves nothing, the weights at the end are those of the file; the run says which those were."""
    given = trained()
    given.save(tmp_path / "start.keras")
    model = loop.fit(STILL, tiny, tmp_path / "run", resume=False, verbose=0, start_from=tmp_path / "start.keras")
    for a, b in zip(given.get_weights(), model.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-6)
    assert (tmp_path / "run" / "started_from.txt").read_text() == given.name


@pytest.mark.parametrize("content", [None, b"not a model", "cnn_bn_dropout"], ids=["missing", "bytes", "other"])
def test_a_file_to_start_from_that_is_none_is_refused(tiny: data.Dataset, tmp_path: Path, content: object) -> None:
    """Missing, something else, or another network: one line names the file and the network wanted."""
    path = tmp_path / "start.keras"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        models.build(dataclasses.replace(STILL, model=content), 48).save(path)
    with pytest.raises(InputError, match=r"start.keras: expected a .keras file of the network still"):
        loop.fit(STILL, tiny, tmp_path / "run", resume=False, verbose=0, start_from=path)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("config.seed 1,.* got 2;", {"config": dataclasses.replace(STILL, seed=2)}),
        ("config.augment.flip False,.* got True;", {"config": dataclasses.replace(STILL, augment=Augment(flip=True))}),
        (
            r"config.phases \[{'epochs': 1, 'side': 48}\],",
            {"config": dataclasses.replace(STILL, phases=(Phase(2, 48),))},
        ),
        ("edition fer2013new.csv,.* got label.csv;", {"edition": "label.csv"}),
        ("faces 96,.* got 64;", {"limit": 64}),
        ("start none,.* got other.keras [0-9a-f]{12};", {"start": True}),
        ("data [0-9a-f]{12},.* got [0-9a-f]{12};", {"faces": True}),
        ("data [0-9a-f]{12},.* got [0-9a-f]{12};", {"votes": True}),
    ],
)
def test_another_run_does_not_go_on_there(
    field: str, changed: dict[str, object], tiny: data.Dataset, tmp_path: Path
) -> None:
    """Another seed, config, edition, limit or start, or other data of one size: the first field that differs."""
    record.of(STILL, tiny).write(tmp_path)
    dataset = data.head(tiny, changed.get("limit", 96))
    for name in {"faces", "votes"} & changed.keys():  # the same ones in another order
        turned = dataclasses.replace(dataset.validation, **{name: getattr(dataset.validation, name)[::-1]})
        dataset = dataclasses.replace(dataset, validation=turned)
    dataset = dataclasses.replace(dataset, edition=changed.get("edition", tiny.edition))
    (tmp_path / "other.keras").write_bytes(b"weights")
    start = tmp_path / "other.keras" if changed.get("start") else None
    with pytest.raises(InputError, match=f"expected {field}"):
        loop.fit(changed.get("config", STILL), dataset, tmp_path, resume=True, verbose=0, start_from=start)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_json_of_another_program_is_not_overwritten(resume: bool, tiny: data.Dataset, tmp_path: Path) -> None:
    """The folder is somebody else's: one line says so, and the file stays."""
    (tmp_path / record.FILE).write_text('{"command": "make"}')
    with pytest.raises(InputError, match=r"run\.json: expected the record of a run, got TypeError"):
        loop.fit(STILL, tiny, tmp_path, resume=resume, verbose=0)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(record.FILE, '{"command": "make"}')]


def test_a_folder_without_a_record_is_gone_on_with(tiny: data.Dataset, tmp_path: Path) -> None:
    """Runs of older versions have none."""
    record.expect(tmp_path, record.of(STILL, tiny), begun=True)


def test_another_backend_does_not_go_on_there(tiny: data.Dataset, tmp_path: Path) -> None:
    """Its random numbers are others, and so would the curve be: both are named."""
    dataclasses.replace(record.of(STILL, tiny), backend="theano").write(tmp_path)
    with pytest.raises(InputError, match=f"expected backend theano, .* got {keras.backend.backend()}; repeat that"):
        loop.fit(STILL, tiny, tmp_path, resume=True, verbose=0)


def test_a_record_of_an_older_version_is_gone_on_with(tiny: data.Dataset, tmp_path: Path) -> None:
    """One without backend and data says nothing of them, and what it says is held to."""
    mine = record.of(STILL, tiny)
    mine.write(tmp_path)
    old = json.loads((tmp_path / record.FILE).read_text())
    del old["backend"], old["data"]
    (tmp_path / record.FILE).write_text(json.dumps(old))
    record.expect(tmp_path, mine, begun=True)
    with pytest.raises(InputError, match="expected edition"):
        record.expect(tmp_path, dataclasses.replace(mine, edition="label.csv"), begun=True)


def test_a_field_that_is_younger_than_the_run_was_not_set(tiny: data.Dataset, tmp_path: Path) -> None:
    """Its record lacks it: gone on with where it has its default, and not where it makes the next epochs others."""
    student = dataclasses.replace(STILL, teacher_share=0.5)
    record.of(student, tiny).write(tmp_path)
    old = json.loads((tmp_path / record.FILE).read_text())
    del old["config"]["teacher_upright"]
    (tmp_path / record.FILE).write_text(json.dumps(old))
    record.expect(tmp_path, record.of(student, tiny), begun=True)
    twice = dataclasses.replace(student, teacher_upright=True)
    with pytest.raises(InputError, match=r"expected config.teacher_upright False, .* got True"):
        record.expect(tmp_path, record.of(twice, tiny), begun=True)


def test_what_a_run_began_with_is_asked_again_until_its_first_epoch(tiny: data.Dataset, tmp_path: Path) -> None:
    """Killed in the first epoch, it has no weights yet: random ones would be another run. Later it has its own."""
    (tmp_path / "start.keras").write_bytes(b"weights")
    record.of(STILL, tiny, tmp_path / "start.keras").write(tmp_path)
    plain = record.of(STILL, tiny)
    with pytest.raises(InputError, match=r"expected start start.keras [0-9a-f]{12}, .* got none"):
        record.expect(tmp_path, plain, begun=False)
    record.expect(tmp_path, plain, begun=True)


def test_another_teacher_does_not_go_on_there(tiny: data.Dataset, tmp_path: Path) -> None:
    """Two teachers are told apart by what they hold, a run with one from a run without."""
    for name, teacher in (("a", 0), ("b", 5)):
        distill.save(tmp_path / f"{name}.npz", distill.Teacher(data.digest(tiny.train.faces), given(teacher)), {})
    student = dataclasses.replace(STILL, teacher_share=0.5)
    one, other = (distill.teacher_of([tmp_path / f"{name}.npz"]) for name in "ab")
    loop.fit(student, tiny, tmp_path / "run", resume=False, verbose=0, teacher=one)
    loop.fit(student, tiny, tmp_path / "run", resume=True, verbose=0, teacher=one)
    with pytest.raises(InputError, match=r"expected teacher a.npz [0-9a-f]{12}, .* got b.npz [0-9a-f]{12}; repeat"):
        loop.fit(student, tiny, tmp_path / "run", resume=True, verbose=0, teacher=other)


def given(label: int) -> np.ndarray:
    """Return a teacher's word on the training faces: this label, whatever it sees."""
    return np.eye(8, dtype=np.float32)[np.full(96, label)]


def test_a_run_leaves_its_record_and_a_whole_history(tiny: data.Dataset, tmp_path: Path) -> None:
    """run.json says what it was; a history.csv that a kill left short, or a start that was another's, is mended."""
    (tmp_path / "started_from.txt").write_text("of a run that was killed in its first epoch")
    loop.fit(STILL, tiny, tmp_path, resume=False, verbose=0)
    assert record.read(tmp_path) == record.of(STILL, tiny)
    assert not (tmp_path / "started_from.txt").exists()
    history = (tmp_path / "history.csv").read_text()
    (tmp_path / "history.csv").write_text(history.splitlines()[0] + "\n")
    loop.fit(STILL, tiny, tmp_path, resume=True, verbose=0)
    assert (tmp_path / "history.csv").read_text() == history


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_keras_file_is_one_line(keep: float, tmp_path: Path) -> None:
    """Cut off anywhere, whatever Keras and zipfile raise."""
    models.build(STILL, 48).save(tmp_path / "whole.keras")
    content = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ModelError, match=r"cut.keras: expected a readable Keras model") as caught:
        checkpoint.read(tmp_path / "cut.keras")
    assert "\n" not in str(caught.value)


def test_validation_without_a_face_is_one_line(tiny: data.Dataset, tmp_path: Path) -> None:
    """Every vote is for "unknown"."""
    votes = np.zeros_like(tiny.validation.votes)
    votes[:, 8] = 10
    dataset = dataclasses.replace(tiny, validation=dataclasses.replace(tiny.validation, votes=votes))
    with pytest.raises(InputError, match="expected a validation face with a majority, got none in 25"):
        loop.fit(STILL, dataset, tmp_path, resume=False, verbose=0)


def test_a_model_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut must not leave an empty final.keras: first the content is flushed, then it is renamed."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda d: done.append(Path(f"/proc/self/fd/{d}").readlink().name) or fsync(d))
    monkeypatch.setattr(Path, "replace", lambda own, to: done.append(f"-> {to.name}") or replace(own, to))
    checkpoint.write(models.build(STILL, 48), tmp_path / "final.keras")
    assert done == ["final.partial.keras", "-> final.keras", tmp_path.name]
