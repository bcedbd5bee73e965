"""The faces that set the activation ranges."""

import numpy as np
import pytest

from agent.emotions import LABELS
from agent.errors import InputError
from quantize import representative
from training import data


def test_every_class_is_there_equally_often(drawn: data.Dataset) -> None:
    """Sixty-four faces of a balanced split are eight of each class."""
    faces, label = representative.choose(drawn.train, 64, seed=1)
    assert faces.shape == (64, 48, 48)
    assert np.bincount(label).tolist() == [8] * 8


def test_a_rare_class_gives_what_it_has(drawn: data.Dataset) -> None:
    """A class with fewer faces than its share gives all of them and takes nothing from the others."""
    keep = np.r_[0:126]
    split = data.Split(drawn.train.faces[keep], drawn.train.votes[keep], None)
    _, label = representative.choose(split, 128, seed=1)
    assert np.bincount(label).tolist() == [16] * 7 + [14]


def test_a_missing_class_is_named(drawn: data.Dataset) -> None:
    """Without a single face of contempt there is no representative set, and the message says which class."""
    split = data.Split(drawn.train.faces[:112], drawn.train.votes[:112], None)
    with pytest.raises(InputError, match=f"none of {LABELS[-1]}"):
        representative.choose(split, 64, seed=1)


def test_the_same_seed_chooses_the_same_faces(drawn: data.Dataset) -> None:
    """The choice depends on the seed alone."""
    first, again, other = (representative.choose(drawn.train, 32, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("level", [0, 100, 255])
def test_grey_levels_0_and_255_are_present_even_in_a_flat_face(level: int) -> None:
    """Pinning puts both extremes into the first face, whatever it shows, and changes at most two pixels."""
    flat = np.full((2, 48, 48), level, np.uint8)
    ready = representative.pinned(flat, 48)
    assert (ready[0].min(), ready[0].max()) == (0, 255)
    assert (ready[0, :, :, 0] != flat[0]).sum() <= 2
    assert np.array_equal(ready[1, :, :, 0], flat[1])
