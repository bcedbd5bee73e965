"""A run that is killed goes on as if nothing had happened, and overwrites none that is there."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from agent.errors import InputError
from tests.training.conftest import environment
from tests.training.runs import STILL, trained
from training import checkpoint, data, loop, models

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


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", ["history.csv", "final.keras"])
def test_what_is_left_of_a_run_is_not_overwritten(name: str, resume: bool, tiny: data.Dataset, tmp_path: Path) -> None:
    """Its checkpoints were deleted for room, or both are damaged: a new run does not begin in their place."""
    (tmp_path / name).write_text("a day's work")
    with pytest.raises(InputError, match=rf"holds {name} and no whole checkpoint; a new run needs another folder"):
        loop.fit(STILL, tiny, tmp_path, resume=resume, verbose=0)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "a day's work")]


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


def test_validation_without_a_face_is_one_line(tiny: data.Dataset, tmp_path: Path) -> None:
    """Every vote is for "unknown"."""
    votes = np.zeros_like(tiny.validation.votes)
    votes[:, 8] = 10
    dataset = dataclasses.replace(tiny, validation=dataclasses.replace(tiny.validation, votes=votes))
    with pytest.raises(InputError, match="expected a validation face with a majority, got none in 25"):
        loop.fit(STILL, dataset, tmp_path, resume=False, verbose=0)
