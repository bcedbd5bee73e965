"""Golden faces show nobody: a class' mean where it has many faces, else noise."""

import numpy as np
import numpy.typing as npt
import pytest

from agent.emotions import LABELS
from quantize import golden, representative
from training import data

Faces = npt.NDArray[np.uint8]


def chosen(drawn: data.Dataset, each: int) -> tuple[Faces, npt.NDArray[np.int64]]:
    """Return `each` faces of every class as network input (8 each, 48, 48, 1), and their labels."""
    faces, label = representative.choose(drawn.train, each * len(LABELS), seed=1)
    return representative.pinned(faces, 48), label


def stretched(face: npt.NDArray) -> npt.NDArray[np.float64]:
    """Return `face` with its grey levels spread over 0-255."""
    real = face.astype(np.float64)
    return (real - real.min()) * 255 / np.ptp(real)


def likeness(some: npt.NDArray, others: npt.NDArray) -> npt.NDArray[np.float64]:
    """Return |correlation| (n, m) of pictures (n, …) with pictures (m, …)."""
    both = np.concatenate([some, others]).reshape(len(some) + len(others), -1)
    return np.abs(np.corrcoef(both))[: len(some), len(some) :]


def test_no_golden_face_is_like_one_of_eight(drawn: data.Dataset) -> None:
    """With one face a class, its stretched copy, even under the noise, would be told; no golden face is."""
    faces, label = chosen(drawn, 1)
    noise = np.random.default_rng(1).normal(0, 25, faces.shape)
    copies = np.stack([stretched(face) for face in faces]) + noise
    assert likeness(copies, faces).diagonal().min() > 0.8
    assert likeness(golden.faces(faces, label, seed=1), faces).max() < 0.6


@pytest.mark.parametrize(("each", "averaged"), [(11, False), (12, True)])
def test_a_mean_needs_twelve_faces(each: int, averaged: bool, drawn: data.Dataset) -> None:
    """Eleven faces of a class give noise, twelve their stretched mean, each followed by itself under noise."""
    faces, label = chosen(drawn, each)
    made = golden.faces(faces, label, seed=1)
    means = np.stack([stretched(faces[label == c].mean(axis=0)) for c in range(len(LABELS))])
    expected = np.rint(means) if averaged else golden.smooth(len(LABELS), 48)
    assert made.shape == (16, 48, 48, 1)
    assert np.array_equal(made[:8], expected)
    assert likeness(made[8:], expected).diagonal().min() > 0.8


def test_each_class_is_judged_by_itself(drawn: data.Dataset) -> None:
    """One rare class among common ones gets noise, the others keep their means."""
    faces, label = chosen(drawn, 16)
    kept = np.arange(len(label)) < len(label) - 5  # eleven of the last class
    made = golden.faces(faces[kept], label[kept], seed=1)
    assert np.array_equal(made[7], golden.smooth(8, 48)[7])
    assert np.array_equal(made[:7], golden.faces(faces, label, seed=1)[:7])
