"""A live camera: newest picture, time-outs, reconnects, and a reason whenever nothing can be seen."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from agent.config import Camera
from agent.errors import AccessError, FerAgentError, UnavailableError
from agent.vision.camera import LiveCamera, Notice
from agent.vision.grabber import check_device
from tests.cameras import FakeDriver, picture, until

QUICK = Camera(open_timeout_s=0.5, read_timeout_s=1.0, retry_max_s=0.3, frozen_after_s=0.5)


@contextmanager
def camera(driver: FakeDriver, fps: float = 20, **changes: object) -> Iterator[tuple[LiveCamera, list[Notice]]]:
    notices: list[Notice] = []
    options = {"settings": QUICK, "patient": True, "notice": notices.append, **changes}
    with LiveCamera(driver.connect, name="fake", fps=fps, **options) as source:  # type: ignore[arg-type]
        yield source, notices


def test_frames_come_at_the_sampling_rate() -> None:
    """A camera of 50 pictures a second asked for 10 gives 10, in order of time, and decodes no others."""
    driver = FakeDriver()
    with camera(driver, fps=10) as (source, _):
        frames = until(iter(source), lambda f: f.trouble is None) + [f for f, _ in zip(source, range(10), strict=False)]
    gaps = np.diff([f.at for f in frames[1:]])
    assert np.all(gaps > 0)
    assert 0.05 < float(np.median(gaps)) < 0.2
    assert driver.decoded <= len(frames) + 2
    assert driver.grabbed > 2 * driver.decoded


def test_slow_loop_gets_the_newest_picture() -> None:
    """A loop slower than the camera never sees a picture older than its own request: no queue grows."""
    driver = FakeDriver(interval_s=0.01)
    with camera(driver, fps=50) as (source, _):
        frames = iter(source)
        for _ in range(5):
            until(frames, lambda f: f.trouble is None)
            asked = driver.grabbed + 20
            while driver.grabbed < asked:
                time.sleep(0.01)
            image = until(frames, lambda f: f.trouble is None)[-1].image
            assert any(np.array_equal(image, picture(n)) for n in range(asked, driver.grabbed + 1))


def test_absent_camera_ticks_and_comes_back() -> None:
    """A camera that is not there at the start gives empty frames with a reason, then pictures once it is plugged in."""
    driver = FakeDriver()
    driver.present = False
    with camera(driver) as (source, notices):
        frames = iter(source)
        absent = until(frames, lambda f: f.trouble == "camera.absent")
        assert absent[-1].image.shape == (0, 0, 3)
        assert driver.opened >= 1
        driver.present = True
        assert until(frames, lambda f: f.trouble is None)[-1].image.shape == (120, 160, 3)
    assert [n.reason for n in notices] == ["camera.lost", "camera.back"]


def test_another_reason_is_told() -> None:
    """A camera that was switched off, and then refuses the login, is told twice: once a reason, not once a try."""
    said = ["refuses connections"]

    def connect() -> FakeDriver:
        raise UnavailableError(said[0])

    notices: list[Notice] = []
    with LiveCamera(connect, name="fake", fps=20, settings=QUICK, patient=True, notice=notices.append) as source:
        frames = iter(source)
        until(frames, lambda f: f.trouble == "camera.absent")
        said[0] = "does not take this login"
        until(frames, lambda _: len(notices) > 1)
        for _ in range(20):
            next(frames)
    assert [n.detail for n in notices] == [
        "fake: camera.absent: refuses connections",
        "fake: camera.absent: does not take this login",
    ]


def test_retries_back_off() -> None:
    """Tries to open a camera that stays away grow apart up to the limit, instead of hammering it."""
    driver = FakeDriver()
    driver.present = False
    slow = QUICK.model_copy(update={"retry_max_s": 60})
    with camera(driver, settings=slow) as (source, _):
        until(iter(source), lambda f: f.trouble == "camera.absent")
        time.sleep(2.2)
    assert driver.opened <= 3


def test_stall_is_noticed_in_time() -> None:
    """A camera that stays open and sends nothing is named within the read time-out, and its return is told."""
    driver, patient = FakeDriver(), QUICK.model_copy(update={"open_timeout_s": 60})
    with camera(driver, settings=patient) as (source, notices):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        driver.stalled.set()
        began = time.monotonic()
        until(frames, lambda f: f.trouble == "camera.stalled")
        assert time.monotonic() - began < 20  # far from the 60 s for opening, on a busy machine, too
        driver.stalled.clear()
        until(frames, lambda f: f.trouble is None)
    assert [n.reason for n in notices] == ["camera.lost", "camera.back"]


def test_slow_to_open_is_not_silent() -> None:
    """A stream that took longer to open than it may be silent is not called stalled before its first picture."""
    driver = FakeDriver(interval_s=0.2)

    def connect() -> FakeDriver:
        time.sleep(slow.read_timeout_s + 0.2)
        return driver.connect()

    notices: list[Notice] = []
    slow = QUICK.model_copy(update={"open_timeout_s": 30, "read_timeout_s": 1.5})
    with LiveCamera(connect, name="fake", fps=50, settings=slow, patient=True, notice=notices.append) as source:
        assert [f.trouble for f in until(iter(source), lambda f: f.trouble is None)] == [None]
    assert notices == []


def test_slow_to_open_after_a_pause_is_not_lost() -> None:
    """A camera that takes longer to open than it may be silent is not called lost when a pause ends."""
    driver, closed = FakeDriver(interval_s=0.05), [None, "paused"]
    slow = QUICK.model_copy(update={"open_timeout_s": 30, "read_timeout_s": 0.5})

    def connect() -> FakeDriver:
        time.sleep(slow.read_timeout_s + 0.5 if driver.grabbed else 0)
        return driver.connect()

    notices: list[Notice] = []
    with LiveCamera(
        connect, name="fake", fps=20, settings=slow, patient=True, notice=notices.append, closed=lambda: closed[0]
    ) as source:
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        closed.reverse()
        until(frames, lambda f: f.trouble == "paused")
        closed.reverse()
        assert {f.trouble for f in until(frames, lambda f: f.trouble is None)} == {None}
    assert notices == []


def test_a_wait_shows_that_the_loop_is_alive() -> None:
    """While a camera may take its time to open no frame comes, and each look for one is told."""
    driver = FakeDriver()
    driver.stalled.set()
    patient = QUICK.model_copy(update={"open_timeout_s": 300, "read_timeout_s": 300})
    with camera(driver, settings=patient) as (source, _):
        frames: list[object] = []
        loop = threading.Thread(target=lambda: frames.extend(source), daemon=True)
        loop.start()
        time.sleep(0.3)
        before = source.waited_at()
        time.sleep(0.3)
        assert source.waited_at() > before
        assert frames == []
        source.stop()
        loop.join(5)
        before = source.waited_at()
        time.sleep(0.2)
        assert source.waited_at() == before
        driver.stalled.clear()


def test_hung_driver_shows_in_progress() -> None:
    """While the driver hangs, the time of progress stands still: that is what stops the watchdog's food."""
    driver = FakeDriver()
    with camera(driver) as (source, _):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        driver.stalled.set()
        time.sleep(0.1)
        stuck = source.progressed_at()
        until(frames, lambda f: f.trouble == "camera.stalled")
        assert source.progressed_at() == stuck
        driver.stalled.clear()
        time.sleep(0.2)
        assert source.progressed_at() > stuck


def test_absent_camera_is_progress() -> None:
    """Waiting for a camera that is not there counts as progress: a restart would not bring it."""
    driver = FakeDriver()
    driver.present = False
    with camera(driver) as (source, _):
        until(iter(source), lambda f: f.trouble == "camera.absent")
        first = source.progressed_at()
        time.sleep(1.2)
        assert source.progressed_at() > first


def test_frozen_picture_is_named() -> None:
    """A picture that is the same bit by bit at full rate becomes `camera.frozen`, and clears when it moves."""
    driver = FakeDriver()
    with camera(driver) as (source, _):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        driver.frozen = True
        until(frames, lambda f: f.trouble == "camera.frozen")
        driver.frozen = False
        until(frames, lambda f: f.trouble is None)


def test_another_size_is_told() -> None:
    """When the picture's size changes, pictures go on and calibration is asked for."""
    driver = FakeDriver()
    with camera(driver) as (source, notices):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        driver.size = (160, 120)
        until(frames, lambda f: f.image.shape == (160, 120, 3))
    assert [n.reason for n in notices] == ["camera.resized"]
    assert "160x120 became 120x160" in notices[0].detail


def test_broken_pictures_are_counted() -> None:
    """Pictures that cannot be decoded are counted and are none: nothing is seen until the next good one, which is."""
    driver = FakeDriver()
    with camera(driver) as (source, _):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        assert source.bad == 0
        driver.broken = True
        until(frames, lambda f: f.trouble == "camera.stalled")
        assert 0 < source.bad < driver.decoded
        driver.broken = False
        assert until(frames, lambda f: f.trouble is None)[-1].image.size


def test_closed_by_a_pause() -> None:
    """While paused the camera is really closed, frames carry the reason, and it opens again afterwards."""
    driver = FakeDriver()
    reason: list[str | None] = [None]
    with camera(driver, closed=lambda: reason[0]) as (source, _):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        reason[0] = "paused"
        until(frames, lambda f: f.trouble == "paused" and driver.closed == 1)
        opened = driver.opened
        for _ in range(5):
            assert next(frames).trouble == "paused"
        assert driver.opened == opened
        reason[0] = None
        until(frames, lambda f: f.trouble is None)


def test_held_until_the_driver_let_go() -> None:
    """While a driver hangs the camera counts as open, whatever was asked: the light must not go off before."""
    driver = FakeDriver()
    reason: list[str | None] = [None]
    with camera(driver, closed=lambda: reason[0]) as (source, _):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        driver.stalled.set()
        until(frames, lambda f: f.trouble == "camera.stalled")
        reason[0] = "paused"
        for _ in range(5):
            assert next(frames).trouble == "paused"
            assert (source.held(), driver.closed) == (True, 0)
        driver.stalled.clear()
        until(frames, lambda _: not source.held())
        assert driver.closed == 1


def test_a_camera_that_cannot_be_closed_is_opened_again() -> None:
    """Whatever a driver's close raises, its thread lives on."""
    driver = FakeDriver()
    driver.close = lambda: 1 / 0  # type: ignore[method-assign]
    with camera(driver) as (source, _):
        frames = iter(source)
        until(frames, lambda f: f.trouble is None)
        driver.present = False
        until(frames, lambda f: f.trouble is not None)
        driver.present = True
        until(frames, lambda f: f.trouble is None)


def test_a_pause_does_not_wait_for_the_next_frame() -> None:
    """At one frame in 20 s, a pause shuts the camera within a second or two."""
    driver, paused = FakeDriver(), threading.Event()
    with camera(driver, fps=0.05, closed=lambda: "paused" if paused.is_set() else None) as (source, _):
        frames = iter(source)
        assert next(frames).trouble is None
        rest = threading.Thread(target=lambda: next(frames, None))
        rest.start()
        paused.set()
        end = time.monotonic() + 15  # the next frame is due in 20 s
        while not driver.closed and time.monotonic() < end:
            time.sleep(0.05)
        source.stop()
        rest.join()
    assert time.monotonic() < end


def test_stop_ends_the_iteration() -> None:
    """`stop` from another thread ends the loop and closes the camera, also while no picture comes."""
    driver = FakeDriver()
    driver.present = False
    with camera(driver, fps=1) as (source, _):
        threading.Timer(0.3, source.stop).start()
        list(source)
    assert driver.opened == driver.closed


def test_impatient_camera_raises() -> None:
    """On the command line a camera that is not there is exit code 69."""
    driver = FakeDriver()
    driver.present = False
    with pytest.raises(UnavailableError), camera(driver, patient=False):
        pass


def test_impatient_camera_that_is_silent() -> None:
    """On the command line a camera that opens and sends nothing is given up within both time-outs."""
    driver = FakeDriver()
    driver.stalled.set()
    try:
        with pytest.raises(UnavailableError, match=r"within 1\.5 s"), camera(driver, patient=False):
            pass
    finally:
        driver.stalled.clear()


def test_missing_device_names_those_there() -> None:
    """/dev/video that is not there says so."""
    with pytest.raises(UnavailableError, match="no such device"):
        check_device(Path("/dev/video63"))


def test_no_permission_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission on the device names the group `video` and the command; run as another user where we are root."""
    device = tmp_path / "video0"
    device.touch(mode=0o000)
    if os.getuid() != 0:
        with pytest.raises(AccessError, match="usermod -aG video"):
            check_device(device)
        return
    tmp_path.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; import agent.vision.grabber as g\n"
        "from agent.errors import AccessError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: g.check_device(Path(sys.argv[1]))\n"
        "except AccessError as e: print(e)"
    )
    for folder in [*tmp_path.parents][:3]:
        folder.chmod(folder.stat().st_mode | 0o055) if str(folder).startswith("/tmp/") else None
    done = subprocess.run([sys.executable, "-c", code, str(device)], capture_output=True, text=True, check=True)
    assert "usermod -aG video" in done.stdout


def test_errors_of_the_driver_are_a_missing_camera() -> None:
    """Whatever a driver raises is a camera that is not there, not the end of the agent."""
    driver = FakeDriver()

    def connect() -> FakeDriver:
        raise RuntimeError("driver bug")

    with LiveCamera(connect, name="fake", fps=20, settings=QUICK, patient=True) as source:
        until(iter(source), lambda f: f.trouble == "camera.absent")
        assert isinstance(source._loop.error, FerAgentError)
    assert driver.opened == 0


def test_pictures_differ_between_numbers() -> None:
    """The fake camera's pictures differ, so that a frozen one is the exception."""
    assert not np.array_equal(picture(1), picture(2))
