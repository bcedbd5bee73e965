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


@pytest.mark.parametrize(("size", "smallest"), [((1920, 1080), 24), ((2560, 1440), 29), ((3840, 2160), 47)])
def test_large_frames_are_searched_for_larger_faces(size, smallest):
    """As README and `MAX_TILES` say: asked for 24 px, 1080p is searched from 24 on, 1440p from 29, 4K from 47."""
    tile = SHORT_RANGE.side / tiles.layout(*size, 24, SHORT_RANGE)[0].scale
    assert round(tile / SHORT_RANGE.tile_per_face) == smallest


def test_smaller_faces_get_smaller_tiles():
    """The finest level follows the smallest face."""
    fine, coarse = (tiles.layout(1280, 720, px, SHORT_RANGE)[0].scale for px in (24, 48))
    assert fine == pytest.approx(2 * coarse)


@pytest.mark.parametrize("model", [SHORT_RANGE, FULL_RANGE], ids=["short", "full"])
@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720), (1920, 1080), (720, 1280)])
def test_a_face_of_any_size_is_whole_and_large_enough_in_some_tile(width, height, model):
    """From the smallest face to the frame's own size: it fits into an overlap, or the one tile, and takes a twelfth."""
    levels = tiles.layout(width, height, 24, model)
    for face in np.geomspace(24, min(width, height), 100):
        sides = [(face * level.scale / model.side, len(level.corners) == 1) for level in levels]
        assert any(side >= 1 / 12 and (side <= tiles.OVERLAP or alone) for side, alone in sides), face


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


@pytest.mark.parametrize("second", [(32, 0, 30), (0, -31, 30), (16, 0, 30), (60, 60, 1)])
def test_neighbours_stay_two(second):
    """Two faces side by side, above each other, half behind each other or far apart are not merged."""
    first = (0, 0, second[2])
    score, points = tiles.merge(np.array([0.8, 0.9], np.float32), boxes(first, second), np.ones(2, bool))
    assert score.tolist() == pytest.approx([0.9, 0.8]), "the strongest first"
    np.testing.assert_array_equal(points, boxes(second, first))


def test_one_face_is_the_weighted_mean_of_its_like():
    """Boxes of one face are averaged by their scores; a piece of it is dropped, and moves nothing."""
    score, points = tiles.merge(
        np.array([0.9, 0.6, 0.8], np.float32), boxes((0, 0, 100), (30, 0, 100), (20, 20, 40)), np.ones(3, bool)
    )
    assert score.tolist() == pytest.approx([0.9])
    np.testing.assert_allclose(points, boxes((12, 0, 100)), rtol=1e-6)


def test_a_box_without_area_is_merged_with_nothing():
    """Of a box whose corners fell together there is no overlap to compute: it stays what it is, and the rest too."""
    given = boxes((5, 5, 0), (50, 0, 30))
    with np.errstate(invalid="ignore"):
        score, points = tiles.merge(np.array([0.9, 0.8], np.float32), given, np.ones(2, bool))
    assert score.tolist() == pytest.approx([0.9, 0.8])
    np.testing.assert_array_equal(points, given)


def test_nothing_merges_to_nothing():
    """No boxes in, no boxes out."""
    score, points = tiles.merge(np.empty(0, np.float32), np.empty((0, 2, 2), np.float32), np.empty(0, bool))
    assert len(score) == len(points) == 0


@given(count=st.integers(0, 300), most=st.integers(1, 40))
def test_batches_are_few_and_alike(count, most):
    """Every item is in one batch; there are no more batches than needed, all of one length but for the last."""
    numbers = list(range(count))
    parts = [numbers[part] for part in tiles.batches(count, most)]
    assert [number for part in parts for number in part] == numbers
    assert len(parts) <= -(-count // most)
    assert all(len(part) <= most for part in parts)
    assert len({len(part) for part in parts[:-1]}) <= 1
    assert all(len(part) <= len(parts[0]) for part in parts)
