"""Tile layouts and the merging of boxes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision import tiles
from agent.vision.weights import FULL_RANGE, SHORT_RANGE

SIZES = st.integers(1, 9000)


@given(width=SIZES, height=SIZES, smallest=st.integers(16, 300))
def test_every_pixel_is_in_a_tile_of_every_level(width, height, smallest):
    """Each level's tiles cover the whole scaled frame, in steps of at most 3/4 of a tile."""
    for level in tiles.layout(width, height, smallest, SHORT_RANGE):
        for axis, length in ((0, width), (1, height)):
            starts = sorted({corner[axis] for corner in level.corners})
            assert starts[0] == 0
            assert starts[-1] + SHORT_RANGE.side >= round(length * level.scale)
            assert all(b - a <= (1 - tiles.OVERLAP) * SHORT_RANGE.side + 1 for a, b in itertools.pairwise(starts))


@given(width=SIZES, height=SIZES, smallest=st.integers(16, 300))
def test_tiles_are_bounded(width, height, smallest):
    """No frame gets more than `MAX_TILES` tiles, whatever its size."""
    levels = tiles.layout(width, height, smallest, FULL_RANGE)
    assert sum(len(level.corners) for level in levels) <= tiles.MAX_TILES


def test_smaller_faces_get_smaller_tiles():
    """The finest level follows the smallest face."""
    fine, coarse = (tiles.layout(1280, 720, px, SHORT_RANGE)[0].scale for px in (24, 48))
    assert fine == pytest.approx(2 * coarse)


def test_small_frames_are_searched_for_small_faces():
    """A 480-px frame is searched for the faces that 24 px at 1280 would be, but for none under `LEAST_FACE`."""
    assert tiles.smallest_face(480, 270, 48) == pytest.approx(18)
    assert tiles.smallest_face(480, 270, 24) == tiles.LEAST_FACE
    assert tiles.smallest_face(1920, 1080, 24) == 24


def boxes(*rows):
    return np.array([[(x, y), (x + w, y + w)] for x, y, w in rows], np.float32)


def test_a_whole_box_beats_a_cut_one():
    """A weaker box that is whole wins over a stronger one that a tile's border cut."""
    score, points = tiles.merge(
        np.array([0.9, 0.6], np.float32), boxes((0, 0, 50), (0, 0, 100)), np.array([False, True])
    )
    assert score.tolist() == pytest.approx([0.6])
    np.testing.assert_allclose(points[0, 1], 100)


def test_neighbours_stay_two():
    """Two faces side by side are not merged."""
    score, _ = tiles.merge(np.array([0.9, 0.8], np.float32), boxes((0, 0, 30), (32, 0, 30)), np.ones(2, bool))
    assert len(score) == 2


def test_nothing_merges_to_nothing():
    """No boxes in, no boxes out."""
    score, points = tiles.merge(np.empty(0, np.float32), np.empty((0, 2, 2), np.float32), np.empty(0, bool))
    assert len(score) == len(points) == 0
