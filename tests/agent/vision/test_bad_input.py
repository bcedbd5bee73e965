"""Pictures that no camera should send, through all of vision: detector, classifier, seats."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.device.memory import rss_bytes
from agent.records import Frame
from agent.vision import search
from agent.vision.align import LARGEST
from agent.vision.classify import Classifier
from agent.vision.picture import bgr
from agent.vision.seats import Seats
from agent.vision.turns import Turns
from tests.agent.vision import scenes


def crowd(people, width=60, size=(800, 600), seed=0):
    """Return a scene of `people` portraits."""
    heads = [scenes.cut(scenes.portraits()[i % 4], 1.6) for i in range(people)]
    return scenes.compose(heads, width, np.random.default_rng(seed), size=size)


def assert_sane(faces, shape):
    """Fail unless every number is finite, every size positive, every crop square, bounded, and of the frame."""
    for face in faces:
        box, (height, width) = face.box, shape[:2]
        numbers = (box.x, box.y, box.width, box.height, *np.ravel(box.eyes))
        assert all(map(math.isfinite, numbers))
        assert 0 < box.score <= 1
        assert -box.width < box.x < width
        assert -box.height < box.y < height
        assert face.crop.shape == (face.crop.shape[0],) * 2
        assert 1 <= face.crop.shape[0] <= LARGEST


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotated_frames(detector, turns):
    """A camera mounted on its side or head gives no error, and nothing that lies outside the frame."""
    image = np.ascontiguousarray(np.rot90(crowd(6).image, turns))
    assert_sane(detector(Frame(image, 0.0)), image.shape)


def test_half_a_frame(detector):
    """A frame whose lower half is grey, as a broken transmission leaves it, still gives the faces of its upper half."""
    scene = crowd(12)
    image = scene.image.copy()
    image[300:] = 128
    faces = detector(Frame(image, 0.0))
    whole = [f for f in scene.faces if f[1] < 240]
    assert whole
    assert scenes.match(whole, [f.box for f in faces])[0] == len(whole)
    assert_sane(faces, image.shape)


@pytest.mark.parametrize("seed", range(6))
def test_corrupt_jpegs(detector, seed):
    """A JPEG with overwritten bytes is either no picture at all, or gives only faces that are sane."""
    rng = np.random.default_rng(seed)
    content = cv2.imencode(".jpg", crowd(12).image)[1].copy()
    content[rng.integers(600, len(content), 40)] = rng.integers(0, 255, 40)
    image = bgr(cv2.imdecode(content, cv2.IMREAD_COLOR))
    if image is not None:
        assert_sane(detector(Frame(image, 0.0)), image.shape)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 400), height=st.integers(1, 400), seed=st.integers(0, 2**32 - 1), cell=st.integers(1, 40))
def test_any_picture_of_any_size(detector, width, height, seed, cell):
    """Blocks of noise of any size and coarseness give no error and only faces that are sane."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // cell + 1, width // cell + 1, 3), dtype=np.uint8)
    image = np.ascontiguousarray(np.kron(coarse, np.ones((cell, cell, 1), np.uint8))[:height, :width])
    assert_sane(detector(Frame(image, 0.0)), image.shape)


@pytest.mark.parametrize("centre", [(0, 5000), (-5000, -5000), (5000, 20), (60, 45)])
@pytest.mark.parametrize("reach", [90.0, 300.0, 800.0])
def test_a_near_look_at_any_place(centre, reach):
    """The near look at a place inside the picture or far outside it is a picture of the network's size."""
    near = search._cut(np.zeros((90, 120, 3), np.uint8), np.array(centre, np.float32), np.float32(reach), 128)
    assert near.shape == (128, 128, 3)


@pytest.mark.parametrize("code", [cv2.COLOR_BGR2GRAY, cv2.COLOR_BGR2BGRA])
def test_grey_and_bgra_cameras(detector, code):
    """A camera that sends grey or BGRA pictures shows the same people."""
    scene = crowd(6)
    image = bgr(cv2.cvtColor(scene.image, code))
    assert scenes.match(scene.faces, detector.boxes(image))[0] == 6


def test_grey_with_a_third_axis():
    """A grey picture of shape (h, w, 1) becomes (h, w, 3)."""
    assert bgr(np.full((4, 5, 1), 9, np.uint8)).shape == (4, 5, 3)


@pytest.mark.parametrize(
    "image",
    [None, np.zeros((0, 0, 3), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.float32),
     np.zeros(4, np.uint8), "picture"],
)  # fmt: skip
def test_what_is_no_picture(image):
    """Nothing, no pixel, two channels, floating point and a line are no pictures."""
    assert bgr(image) is None


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_no_faces_for_an_hour(detector):
    """3,600 pictures of an empty room leave no face, no seat, nothing remembered, and at most 5 MB of memory."""
    seats, turns, memory = Seats(), Turns(8), []
    room = scenes.wall(160, 90, np.random.default_rng(0))
    for second in range(3600):
        boxes = detector.boxes(room)
        assert boxes == []
        seats.add(boxes)
        turns.choose(second, boxes)
        memory.append(rss_bytes())
        if second % 60 == 59:
            assert seats.merged() == {}
            seats.reset()
    assert memory[-1] - memory[300] <= 5e6


def test_two_hundred_faces_are_read_in_turn(detector, bundle):
    """Two hundred faces are all read within two seconds, never more than the budget needs, each reading finite."""
    scene = crowd(200, 40, (1920, 1080))
    seen = set()
    faces = detector(Frame(scene.image, 0.0))
    assert len(faces) >= 190
    with Classifier(bundle, threads=2, faces_per_frame=32) as classifier:
        for step in range(11):  # two seconds at five frames a second
            for number, reading in enumerate(classifier(Frame(scene.image, step / 5), faces)):
                if reading.probabilities is not None:
                    seen.add(number)
                    assert np.isfinite(reading.probabilities).all()
    fit = {number for number, face in enumerate(faces) if face.rejected is None}
    assert seen == fit


def test_a_frame_of_four_hundred_megapixels_is_not_copied_often(detector):
    """An 8000x6000 frame raises the resident memory by less than four times its own size."""
    image = np.full((6000, 8000, 3), 127, np.uint8)
    before = rss_bytes()
    assert detector(Frame(image, 0.0)) == []
    assert rss_bytes() - before < 4 * image.nbytes
