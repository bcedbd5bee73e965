"""The detector: how many faces it finds, on which pictures, and what it does with bad ones."""

import math
import threading

import numpy as np
import pytest

from agent import config
from agent.records import Frame
from agent.vision.detect import Detector
from tests.agent.vision import scenes


def recall(detector, many):
    """Return (share of faces found, false alarms a frame) over scenes."""
    counts = np.array([scenes.match(s.faces, detector.boxes(s.image)) for s in many])
    return counts[:, 0].sum() / sum(len(s.faces) for s in many), counts[:, 1].mean()


@pytest.mark.parametrize("width", [24, 32, 48, 96, 200, 300])
def test_portraits_of_every_size_are_found(detector, width):
    """Heads with faces of 24 to 300 px in 1280x720 are all found, without a false alarm."""
    rng = np.random.default_rng(width)
    count = 8 if width <= 48 else 3 if width <= 96 else 1
    heads = [scenes.cut(scenes.portraits()[i % 4], 2.2) for i in range(count)]
    assert recall(detector, [scenes.compose(heads, width, rng)]) == (1.0, 0.0)


@pytest.mark.parametrize(("width", "bar"), [(24, 0.85), (32, 0.95), (64, 0.95), (96, 0.95)])
def test_labelled_faces_are_found(detector, labelled, width, bar):
    """Of thirty FER2013 pictures a frame, 85 % are found at 24 px and 95 % from 32 px on; false alarms <= 0.05."""
    rng = np.random.default_rng(width)
    pictures = labelled[0]
    many = [
        scenes.compose([scenes.fer_head(p) for p in pictures[start : start + 30]], width, rng)
        for start in range(0, 180, 30)
    ]
    found, false = recall(detector, many)
    assert found >= bar
    assert false <= 0.05


@pytest.mark.parametrize("trouble", [{"blur": 0.7}, {"noise": 8}, {"brightness": 0.4}, {"brightness": 1.6}])
def test_bad_light_costs_little(detector, trouble):
    """Blur, noise, half and double light leave portraits of 32 px found."""
    heads = [scenes.cut(scenes.portraits()[i % 4], 2.2) for i in range(8)]
    found, false = recall(detector, [scenes.compose(heads, 32, np.random.default_rng(3), **trouble)])
    assert found >= 0.95
    assert false == 0


@pytest.mark.parametrize(("width", "found"), [(30, 0), (60, 3)])
def test_faces_are_as_wide_as_asked_for(width, found):
    """Looking for faces of 60 px, the detector finds those, and calls nothing a face that is half as wide."""
    scene = scenes.compose(list(scenes.portraits())[:3], width, np.random.default_rng(2))
    with Detector(config.Detect(smallest_face_px=60), threads=2) as made:
        assert scenes.match(scene.faces, made.boxes(scene.image)) == (found, 0)


def test_full_hd(detector):
    """Faces of 24 px are found in 1920x1080 as well."""
    heads = [scenes.cut(scenes.portraits()[i % 4], 2.2) for i in range(10)]
    scene = scenes.compose(heads, 24, np.random.default_rng(4), size=(1920, 1080))
    assert recall(detector, [scene]) == (1.0, 0.0)


def test_both_runtimes_find_the_same(runtime):
    """Every runtime finds the same faces, to within a pixel."""
    scene = scenes.compose(list(scenes.portraits()), 40, np.random.default_rng(5), size=(640, 480))
    with Detector(config.Detect(), threads=1, runtime=runtime) as made:
        boxes = made.boxes(scene.image)
    assert scenes.match(scene.faces, boxes) == (4, 0)


def test_a_score_says_how_sure_it_is(detector):
    """The strongest face comes first, none is below the threshold, and blur makes it less sure of the same faces."""
    heads = list(scenes.portraits())
    sharp, blurred = (
        detector.boxes(scenes.compose(heads, 32, np.random.default_rng(3), blur=blur).image) for blur in (0, 1.5)
    )
    scores = [box.score for box in sharp]
    assert scores == sorted(scores, reverse=True)
    assert config.Detect().threshold <= scores[-1] <= scores[0] < 1
    assert np.mean([box.score for box in blurred]) < np.mean(scores)


def test_faces_carry_eyes_and_a_square_crop(detector):
    """A face has both eyes in its box, the left one first, and a square grey crop."""
    scene = scenes.compose([scenes.portraits()[0]], 60, np.random.default_rng(6), size=(640, 480))
    (face,) = detector(Frame(scene.image, 0.0))
    (x0, y0), (x1, y1) = face.box.eyes
    assert face.box.x < x0 < x1 < face.box.x + face.box.width
    assert face.box.y < min(y0, y1)
    assert face.crop.shape == (face.crop.shape[0],) * 2
    assert face.crop.dtype == np.uint8
    assert face.rejected is None


def test_real_classroom(detector, classroom_dir):
    """In at least 95 % of the classroom clip's frames all four people are found, each within 15 px of the seat."""
    seats = [(73, 162), (134, 137), (238, 139), (314, 167)]
    whole = []
    for picture in scenes.video(classroom_dir / "classroom.gif"):
        centres = [(b.x + b.width / 2, b.y + b.height / 2) for b in detector.boxes(picture)]
        whole.append(all(any(math.dist(c, s) < 15 for c in centres) for s in seats))
    assert np.mean(whole) >= 0.95


def test_real_tilted_heads(detector, classroom_dir):
    """In every frame of the head-pose clip exactly its two people are found, one in each half."""
    for picture in scenes.video(classroom_dir / "head-pose-face-detection-female-and-male.gif"):
        middles = sorted(b.x + b.width / 2 for b in detector.boxes(picture))
        assert len(middles) == 2
        assert middles[0] < 240 < middles[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (2000, 1), (0, 0), (6000, 8000)])
def test_odd_sizes(detector, size):
    """Frames of 1x1, a line, no pixel and 8000x6000 give no face and no error."""
    assert detector(Frame(np.full((*size, 3), 127, np.uint8), 0.0)) == []


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_no_pixel_no_box(detector, size):
    """A frame without a pixel has no boxes, which is an answer, too."""
    assert detector.boxes(np.zeros((*size, 3), np.uint8)) == []


def test_its_threads_end_with_its_block():
    """A detector has no more threads than it was given, and none of them outlives it."""

    def threads():
        return {thread for thread in threading.enumerate() if thread.name.startswith("detect")}

    before = threads()
    with Detector(config.Detect(smallest_face_px=60), threads=2) as made:
        made.boxes(np.full((720, 1280, 3), 127, np.uint8))
        assert 1 <= len(threads() - before) <= 2
    assert threads() == before


def test_noise_is_no_crowd(detector):
    """A frame of pure noise, as a broken stream gives, holds at most one face, and every number in it is finite."""
    noise = np.random.default_rng(8).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    boxes = detector.boxes(noise)
    assert len(boxes) <= 1


def test_nobody_is_read_upside_down(detector):
    """Sixteen people are found, and none of them where the camera is upside down: no expression is read wrongly."""
    heads = [scenes.cut(scenes.portraits()[i % 4], 2.0) for i in range(16)]
    scene = scenes.compose(heads, 48, np.random.default_rng(9))
    assert len(detector.boxes(scene.image)) == 16
    assert detector.boxes(np.ascontiguousarray(scene.image[::-1, ::-1])) == []


def test_two_hundred_faces(detector):
    """Two hundred faces in one 1920x1080 frame are nearly all found, cut out, and bounded in memory."""
    heads = [scenes.cut(scenes.portraits()[i % 4], 1.6) for i in range(200)]
    scene = scenes.compose(heads, 40, np.random.default_rng(10), size=(1920, 1080))
    faces = detector(Frame(scene.image, 0.0))
    found, _ = scenes.match(scene.faces, [f.box for f in faces])
    assert found >= 190
    assert sum(f.crop.nbytes for f in faces) < 4_000_000


@pytest.mark.parametrize("shape", [(480, 640), (480, 640, 1), (480, 640, 4)])
def test_grey_and_rgba_frames_are_refused_early(shape):
    """Grey and RGBA pictures never become a frame: the record refuses them and names the shape."""
    with pytest.raises(ValueError, match="expected uint8"):
        Frame(np.zeros(shape, np.uint8), 0.0)
