"""What a surer face wears or holds is no face of its own."""

import numpy as np
import pytest

from agent.vision.search import without_bodies

FACE = (125.0, 125.0, 50.0)
"""Centre x, centre y, width; pixels."""


def kept(*boxes, scores):
    """Return which of the boxes, squares given like `FACE`, are left, by their number."""
    points = np.array([[(x - w / 2, y - w / 2), (x + w / 2, y + w / 2)] for x, y, w in boxes], np.float32)
    left, places = without_bodies(np.array(scores, np.float32), points)
    numbers = [i for i, box in enumerate(points) if any((box == place).all() for place in places)]
    assert left.tolist() == pytest.approx([scores[i] for i in numbers])
    return numbers


@pytest.mark.parametrize(
    ("held", "beside"),
    [
        ((125, 225, 30), (189, 225, 30)),  # in front of the chest; too far to the right
        ((64, 225, 30), (61, 225, 30)),  # to the left, likewise
        ((125, 151, 30), (125, 149, 30)),  # under the chin; still in the face
        ((125, 274, 30), (125, 276, 30)),  # folded hands; below them
        ((125, 71, 30), (125, 69, 30)),  # on a hat; above it
        ((149, 90, 30), (151, 90, 30)),  # at its right end; beside it
        ((101, 90, 30), (99, 90, 30)),
        ((125, 225, 37), (125, 225, 38)),  # a third smaller; about as large
    ],
)
def test_what_lies_on_a_body_or_a_hat_is_no_face(held, beside):
    """A smaller, less sure thing there is dropped; a little further away, or larger, it is somebody else."""
    assert kept(FACE, held, scores=(0.9, 0.5)) == [0]
    assert kept(FACE, beside, scores=(0.9, 0.5)) == [0, 1]


@pytest.mark.parametrize(("face", "thing", "left"), [(0.9, 0.64, [0]), (0.9, 0.66, [0, 1]), (0.5, 0.51, [0, 1])])
def test_a_sure_face_on_somebodys_chest_is_one(face, thing, left):
    """A child on a lap stays: only what is not sure, and less so than the face above it, is dropped."""
    assert kept(FACE, (125, 225, 30), scores=(face, thing)) == left


def test_without_faces_nothing_is_dropped():
    """No box in, no box out."""
    score, points = without_bodies(np.empty(0, np.float32), np.empty((0, 4, 2), np.float32))
    assert len(score) == len(points) == 0
