"""What the vision tests share: the runtimes of this machine, the released model, labelled faces."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent import config
from agent.errors import ModelError
from agent.vision import runtime as runtimes
from agent.vision.detect import Detector
from agent.vision.model_card import MODELS, Bundle
from training import protocol


@pytest.fixture(params=[r.name for r in runtimes.available()])
def runtime(request: pytest.FixtureRequest) -> str:
    """Every TFLite runtime that imports here."""
    return request.param


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    """A detector as it is configured by default."""
    with Detector(config.Detect(), threads=2) as made:
        yield made


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """The model that the package carries, or the one in the folder FER_BUNDLE."""
    try:
        return Bundle.load(Path(os.environ.get("FER_BUNDLE", MODELS / "released")))
    except ModelError as reason:
        pytest.skip(f"no released model: {reason}")


@pytest.fixture(scope="session")
def labelled(ferplus_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """300 validation faces of the majority protocol, uint8 (300, 48, 48), and their labels (300,)."""
    folder = ferplus_dir / "FER2013Valid"
    with open(folder / "label.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    kept, label = protocol.majority(np.array([[int(v) for v in row[2:]] for row in rows]))
    chosen = np.random.default_rng(7).permutation(np.flatnonzero(kept))[:300]
    faces = np.stack([cv2.imread(str(folder / rows[i][0]), cv2.IMREAD_GRAYSCALE) for i in chosen])
    return faces, label[chosen]
