"""A tiny made-up data set in both layouts, and the Keras backends that are installed.

CI has TensorFlow alone, so it skips what needs torch or JAX; with `pip install torch jax` those tests run too.
"""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.emotions import FERPLUS_COLUMNS
from training import data

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = [name for name in ("tensorflow", "torch", "jax") if importlib.util.find_spec(name)]
if not BACKENDS:
    pytest.skip("training needs Keras on TensorFlow, torch or JAX", allow_module_level=True)
if "keras" not in sys.modules:  # in this process: the first one
    os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])
USAGES = [("Training", 96), ("PublicTest", 25), ("PrivateTest", 24)]


def split(n: int, seed: int) -> data.Split:
    """Return `n` made-up faces: brightness and a stripe depend on the class, so there is something to learn."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 8
    faces = rng.integers(0, 60, (n, 48, 48)) + 20 * label[:, None, None]
    votes = np.zeros((n, 10), dtype=np.int64)
    votes[np.arange(n), label], votes[np.arange(n), (label + 1) % 8] = 8, 2
    return data.Split(faces.astype(np.uint8), votes, np.arange(n) % 7)


@pytest.fixture(scope="session")
def tiny() -> data.Dataset:
    """96 / 25 / 24 made-up faces."""
    return data.Dataset("fer2013new.csv", *(split(n, seed) for seed, (_, n) in enumerate(USAGES)))


def write_csvs(folder: Path, dataset: data.Dataset) -> Path:
    """Write `dataset` in the CSV layout."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "fer2013.csv", "w", newline="") as a, open(folder / "fer2013new.csv", "w", newline="") as b:
        pixels, votes = csv.writer(a), csv.writer(b)
        pixels.writerow(["emotion", "pixels", "Usage"])
        votes.writerow(["Usage", "Image name", *FERPLUS_COLUMNS])
        for (usage, _), part in zip(USAGES, (dataset.train, dataset.validation, dataset.test), strict=True):
            for i, face in enumerate(part.faces):
                pixels.writerow([part.fer2013[i], " ".join(map(str, face.ravel())), usage])
                votes.writerow([usage, f"fer{i}.png", *part.votes[i]])
    return folder


def write_folders(folder: Path, dataset: data.Dataset) -> Path:
    """Write `dataset` in the folder layout."""
    for name, part in zip(data.FOLDERS.values(), (dataset.train, dataset.validation, dataset.test), strict=True):
        (folder / name).mkdir(parents=True)
        with open(folder / name / "label.csv", "w", newline="") as file:
            for i, face in enumerate(part.faces):
                cv2.imwrite(str(folder / name / f"f{i}.png"), face)
                csv.writer(file).writerow([f"f{i}.png", "(0, 0, 48, 48)", *part.votes[i]])
    return folder


@pytest.fixture(scope="session")
def tiny_dir(tiny: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set in the CSV layout, on disk."""
    return write_csvs(tmp_path_factory.mktemp("tiny"), tiny)


def environment(backend: str, cache: Path, **more: str) -> dict[str, str]:
    """Return the environment of a training process."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    return {
        **os.environ,
        **quiet,
        "KERAS_BACKEND": backend,
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": str(ROOT),
        **more,
    }


def probe(backend: str, what: str, cache: Path, **more: str) -> dict[str, Any]:
    """Run tests/training/probe.py in a process of its own and return what it printed as JSON."""
    command = [sys.executable, "-m", "tests.training.probe", what]
    done = subprocess.run(command, env=environment(backend, cache, **more), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded data sets go to a folder of the test run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained CNN."""
    import keras

    from tests.training.commands import CONFIG  # not at the top: these bring Keras before its backend is chosen
    from training import models

    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("model") / "final.keras"
    models.build(CONFIG, 48).save(path)
    return path
