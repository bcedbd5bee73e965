"""BlazeFace's decoding."""

import numpy as np
import pytest

from agent.vision import weights
from agent.vision.blazeface import BATCH, BlazeFace, anchors
from agent.vision.runtime import choose
from tests.agent.vision import scenes

MODELS = pytest.mark.parametrize("model", [weights.SHORT_RANGE, weights.FULL_RANGE], ids=["short", "full"])


@MODELS
def test_anchor_count(model):
    """Anchors are as many as the network's rows: 896 for short range, 2304 for full range."""
    assert len(anchors(model)) == {128: 896, 192: 2304}[model.side]


@MODELS
def test_place_in_the_batch_does_not_matter(model, runtime):
    """A tile gives the same faces wherever it stands in a batch, full or not."""
    rng = np.random.default_rng(0)
    head = scenes.portraits()[0]
    tile = scenes.compose([head], model.side * 0.25, rng, size=(model.side, model.side)).image
    empty = np.full_like(tile, 90)
    with BlazeFace(model, choose(runtime), threads=1) as network:
        _, score, points = network(np.stack([tile]), 0.3)
        assert len(score) > 0
        assert score.min() >= 0.3
        for place in (0, 1, BATCH - 1, BATCH + 1):
            pictures = [empty] * (BATCH + 2)
            pictures[place] = tile
            where, same_score, same_points = network(np.stack(pictures), 0.3)
            assert set(where.tolist()) == {place}
            np.testing.assert_allclose(same_score, score, atol=1e-4)
            np.testing.assert_allclose(same_points, points, atol=0.05)


def test_rows_are_decoded():
    """Places are from the middle of the row's own cell, a score is the logistic of its logit; a row without a number
    or of a box that is turned inside out is left out."""
    boxes, logits = np.zeros((1, 2304, 16), np.float32), np.full((1, 2304), -9, np.float32)
    row = 3 * 48 + 5  # of cells of 4 pixels: its middle is (22, 14)
    boxes[0, row, :8] = 1, 2, 10, 20, -3, -4, 3, -4
    boxes[0, 1, 2:4], boxes[0, 2, 2:4] = (np.nan, 5), (-1, 5)
    logits[0, [1, 2, row]] = np.log(3)
    tile, score, points = BlazeFace(weights.FULL_RANGE, choose(), threads=1)._decode(boxes, logits, 0.0)
    assert (tile.tolist(), score.tolist()) == ([0], [0.75])
    assert points.tolist() == [[[18, 6], [28, 26], [19, 10], [25, 10]]]


@MODELS
def test_no_tile_no_face(model):
    """Of no tile nothing is found, in arrays of the same kinds as ever."""
    with BlazeFace(model, choose(), threads=1) as network:
        found = network(np.empty((0, model.side, model.side, 3), np.uint8), 0.3)
    assert [part.shape for part in found] == [(0,), (0,), (0, 4, 2)]
    assert [part.dtype for part in found] == [np.int64, np.float32, np.float32]


@MODELS
def test_eyes_are_where_they_are(model):
    """Decoded eye points of a portrait lie above the box's middle, left and right of it."""
    head = scenes.portraits()[0]
    tile = scenes.compose([head], model.side * 0.3, np.random.default_rng(1), size=(model.side, model.side))
    with BlazeFace(model, choose(), threads=1) as network:
        _, score, points = network(np.stack([tile.image[:, :, ::-1]]), 0.3)
    (left, top), (right, bottom), *eyes = points[score.argmax()]
    x, y = (left + right) / 2, (top + bottom) / 2
    assert min(e[0] for e in eyes) < x < max(e[0] for e in eyes)
    assert all(top < e[1] < y for e in eyes)
