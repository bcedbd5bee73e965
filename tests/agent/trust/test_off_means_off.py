"""Off means off: outside the schedule and while paused the camera is closed, not ignored."""

import itertools
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest

from agent.config import Camera, Hours
from agent.records import Frame
from agent.trust.gpio import Light
from agent.trust.pause import Pause
from agent.trust.sensing import Sensing
from agent.vision.camera import LiveCamera
from tests.mqtt_world import wait_until

ALWAYS = Hours(days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), start="08:00", end="13:00")


class FakeCamera:
    """Noise at 100 pictures a second; knows whether it is open, and what the light showed meanwhile."""

    def __init__(self) -> None:
        self.open, self.opened, self.dark = False, 0, 0
        self.light: Light | None = None
        self._random = np.random.default_rng(1)

    def connect(self) -> "FakeCamera":
        self.open, self.opened = True, self.opened + 1
        return self

    def grab(self) -> bool:
        time.sleep(0.01)
        return True

    def retrieve(self) -> np.ndarray:
        assert self.open, "a closed camera gave a picture"
        return self._random.integers(0, 256, (48, 64, 3), dtype=np.uint8)

    def close(self) -> None:
        self.open = False


class Scene:
    """A camera, its guards, and a clock that a test can set."""

    def __init__(self, root: Path) -> None:
        self.hour, self.fake, self.pause = [9.0], FakeCamera(), Pause(root / "pause", root)
        sensing = Sensing((ALWAYS,), self.pause, zone=lambda: UTC, clock=lambda: self.hour[0] * 3600)
        self.camera = LiveCamera(
            self.fake.connect, name="fake", fps=20, settings=Camera(), patient=True, closed=sensing
        )

    def frames(self, *deeds: Callable[[], object]) -> list[Frame]:
        """Ten frames; after each of the deeds ten more."""
        seen: list[Frame] = []
        with self.camera as camera:
            frames = iter(camera)
            for deed in (lambda: None, *deeds):
                deed()
                seen += itertools.islice(frames, 10)
        return seen


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def states(frames: list[Frame]) -> list[str | None]:
    """The reasons, each run of equal ones once."""
    return [reason for reason, _ in itertools.groupby(frame.trouble for frame in frames)]


def test_a_pause_closes_the_camera(scene: Scene) -> None:
    """Pictures, then the network's pause: the device is closed and only empty frames with the reason come."""
    frames = scene.frames(scene.pause.pause)
    assert states(frames) == [None, "paused"]
    assert all(frame.image.size == 0 for frame in frames if frame.trouble)
    assert (scene.fake.open, scene.fake.opened) == (False, 1)


def test_resume_opens_it_again(scene: Scene) -> None:
    """Off and on: opened twice."""
    assert states(scene.frames(scene.pause.pause, scene.pause.resume)) == [None, "paused", None]
    assert scene.fake.opened == 2


def test_the_end_of_the_hours_closes_the_camera(scene: Scene) -> None:
    """At 13:00 the device is closed while the program runs on."""

    def closes() -> None:
        wait_until(lambda: not scene.fake.open, 20)

    assert states(scene.frames(lambda: scene.hour.__setitem__(0, 13.0), closes)) == [None, "schedule"]
    assert scene.fake.opened == 1


def test_outside_the_hours_it_is_never_opened(scene: Scene) -> None:
    """Started at 20:00: the device is not touched."""
    scene.hour[0] = 20.0
    assert states(scene.frames()) == ["schedule"]
    assert scene.fake.opened == 0


def test_a_local_pause_at_start_keeps_it_closed(scene: Scene, tmp_path: Path) -> None:
    """The file is there before the program: the device is not touched, and the network cannot open it."""
    (tmp_path / "pause").touch()
    assert states(scene.frames(scene.pause.resume)) == ["paused"]
    assert scene.fake.opened == 0
