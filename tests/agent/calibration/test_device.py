"""Device part: which candidate wins. How fast anything is, is never asserted."""

import itertools
import os
from pathlib import Path

import pytest

from agent import config
from agent.calibration import device
from agent.calibration.device import Trial, ranked
from agent.errors import CheckFailed
from agent.records import Box, Frame
from agent.vision import demo_clip
from agent.vision.model_card import MODELS, Bundle
from agent.vision.turns import Turns
from tests.cameras import picture

MODEL = Path(os.environ.get("FER_BUNDLE", MODELS / "released"))
needs_model = pytest.mark.skipif(not MODEL.is_dir(), reason="no released model")

STEP_S = 0.05
ONCE_A_SECOND = config.Settings()


def _plan() -> device.Plan:
    """Return a short search under a clock that goes on by 50 ms whenever it is read."""
    ticks = itertools.count()
    return device.Plan(
        threads=(1, 2),
        smallest_px=(36, 48),
        batches=(8, 16),
        warm=0,
        timed=2,
        soak_s=0.3,
        clock=lambda: STEP_S * next(ticks),
    )


def test_most_faces_of_48_px_win() -> None:
    """Of those that keep up: most faces of 48 px, then most faces, then looks, then the time."""
    few = Trial(1, 48, 32, 100, good_faces=5, faces=5)
    small = Trial(1, 24, 32, 700, good_faces=6, faces=9)
    tighter = Trial(1, 24, 8, 500, good_faces=6, faces=9)
    faster = Trial(2, 24, 32, 400, good_faces=6, faces=9)
    assert ranked([few, tighter, small, faster], 1.0) == [faster, small, tighter, few]


@pytest.mark.parametrize(
    "trial",
    [
        Trial(1, 24, 32, 801, good_faces=9, faces=9),
        Trial(1, 24, 8, 300, good_faces=9, faces=20),
    ],
)
def test_what_cannot_keep_up_is_left_out(trial: Trial) -> None:
    """p95 above 80 % of the period, or fewer than one look in two seconds, is never chosen."""
    assert ranked([trial], 1.0) == []


@needs_model
def test_the_choice_is_one_of_the_plan() -> None:
    """On the demo's classroom the search ends with the larger batch of what finds most faces."""
    frames = [Frame(image, number) for number, image in enumerate(demo_clip.frames(0.3))]
    ticks: list[str] = []
    part = device.measure(frames, ONCE_A_SECOND, Bundle.load(MODEL), plan := _plan(), ticks.append)
    assert part.threads in plan.threads
    assert part.smallest_face_px in plan.smallest_px
    assert (part.faces_per_frame, part.looks_hz) == (16, 1.0)
    assert part.p95_ms == pytest.approx(1000 * 2 * STEP_S)
    assert part.faces >= 2
    assert len(ticks) == plan.steps + 1


@pytest.mark.parametrize("fps", [0.55, 0.7, 0.999, 1.2, 1.5, 2.4])
def test_a_trial_is_as_large_as_what_turns_force(fps: float) -> None:
    """For any number of faces no frame is larger than the load that was timed; below one a second that is all faces."""
    for faces in range(4, round(8 * fps) + 4):
        turns = Turns(4)
        boxes = [Box(100.0 * i, 50, 40, 40) for i in range(faces)]
        largest = max(len(turns.choose(number / fps, boxes)) for number in range(20))
        assert 4 <= largest <= device.load(4, faces, fps)
        assert fps > 1 or largest == faces


def test_the_soak_has_the_rates_own_clock() -> None:
    """At 0.6 frames a second 19 faces under a budget of 16 are all due in each frame that the soak plays."""
    turns, boxes = Turns(16), [Box(100.0 * i, 50, 40, 40) for i in range(19)]
    played = list(itertools.islice(device.played([Frame(picture(), 0.0)], 0.6), 20))
    assert played[3].at == pytest.approx(5.0)
    assert [len(turns.choose(frame.at, boxes)) for frame in played][1:] == [19] * 19


@needs_model
def test_a_rate_that_nothing_can_keep_is_refused() -> None:
    """At 60 frames a second no candidate keeps up: one line with the fastest."""
    frames = [Frame(image, number) for number, image in enumerate(demo_clip.frames(0.2))]
    settings = config.Settings(camera=config.Camera(fps=60))
    with pytest.raises(CheckFailed, match=r"lower camera\.fps"):
        device.measure(frames, settings, Bundle.load(MODEL), _plan())


@needs_model
def test_an_empty_room_is_refused() -> None:
    """Times without a face would mean nothing."""
    frames = [Frame(picture(), 0.0)]
    with pytest.raises(CheckFailed, match="faces in view, got none"):
        device.measure(frames, ONCE_A_SECOND, Bundle.load(MODEL), _plan())


def test_no_picture_is_refused() -> None:
    """A camera that gave nothing is one line."""
    with pytest.raises(CheckFailed, match="expected pictures"):
        device.measure([], ONCE_A_SECOND, None, _plan())


def test_a_rate_below_half_a_look_a_second_is_refused() -> None:
    """At one frame in five seconds no face can be looked at often enough."""
    settings = config.Settings(camera=config.Camera(fps=0.2))
    with pytest.raises(CheckFailed, match=r"at least 0\.5, got 0\.2"):
        device.measure([Frame(picture(), 0.0)], settings, None, _plan())
