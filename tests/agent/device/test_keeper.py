"""The keeper of a run, and reloading the configuration."""

import os
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.config.file import load
from agent.config.reload import Reload
from agent.device.clock import DeviceClock
from agent.device.crashes import Starts
from agent.device.keeper import Keeper
from agent.device.memory import MemoryBound
from agent.device.notify import Notifier
from agent.device.thermal import Reading, Thermal
from agent.errors import ConfigError
from agent.records import Frame


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def frames(clock: Time, count: int) -> "list[Frame]":
    def each():
        for _ in range(count):
            clock.now += 1
            yield Frame(np.zeros((1, 1, 3), np.uint8), clock.now)

    return each()  # type: ignore[return-value]


def test_heat_thins_out_the_frames_and_tells() -> None:
    """At 81 °C half of the frames go on, with one event."""
    clock, events = Time(), []
    thermal = Thermal(lambda: Reading(81.0, under_voltage=False))
    keeper = Keeper(event=lambda *e: events.append(e), period_s=1, thermal=thermal, now=clock)
    assert len(list(keeper.frames(frames(clock, 105)))) == pytest.approx(55, abs=2)
    assert [(kind, reason) for kind, reason, _ in events] == [("thermal", "thermal.hot")]


def test_heat_takes_no_frame_that_says_why_there_is_no_picture() -> None:
    """A hot device must not drop the paused frames: one of them withholds its window."""
    clock = Time()
    thermal = Thermal(lambda: Reading(86.0, under_voltage=False))
    keeper = Keeper(event=lambda *_: None, period_s=1, thermal=thermal, now=clock)
    some = (replace(frame, trouble="paused" if n in (50, 51) else None) for n, frame in enumerate(frames(clock, 100)))
    assert sum(frame.trouble == "paused" for frame in keeper.frames(some)) == 2


@pytest.mark.parametrize(("celsius", "share"), [(76.0, 0.75), (81.0, 0.5), (86.0, 0.25)])
def test_the_rate_is_the_one_that_is_told(celsius: float, share: float) -> None:
    clock, events = Time(), []
    thermal = Thermal(lambda: Reading(celsius, under_voltage=False))
    keeper = Keeper(event=lambda *e: events.append(e), period_s=1, thermal=thermal, now=clock)
    list(keeper.frames(frames(clock, 10)))
    assert len(list(keeper.frames(frames(clock, 400)))) == pytest.approx(400 * share, abs=1)
    assert f"at {share:.0%}" in events[0][2]


def test_clock_step_is_an_event() -> None:
    """A wall clock that is set during the run is told once, with by how much."""
    clock, wall, events = Time(), Time(), []
    device = DeviceClock(wall=wall, monotonic=lambda: 0.0, boot=lambda: 0.0, is_synced=lambda: True)
    keeper = Keeper(event=lambda *e: events.append(e), period_s=1, clock=device, now=clock)
    wall.now = -3600
    list(keeper.frames(frames(clock, 20)))
    assert events == [("clock", "clock.step", "set by -3600.0 s, synchronised")]


def test_broken_pictures_are_told_when_there_are_more(caplog: pytest.LogCaptureFixture) -> None:
    """How many could not be decoded so far is in the report, and in the log each time that it has grown."""
    clock, bad = Time(), [0]
    keeper = Keeper(event=lambda *_: None, period_s=1, broken=lambda: bad[0], now=clock)
    for bad[0] in (0, 2, 2, 5):
        list(keeper.frames(frames(clock, 10)))
    assert [r.getMessage() for r in caplog.records] == [f"event=camera.broken_frames n={n}" for n in (2, 5)]
    assert keeper.report()["broken_frames"] == 5


def test_memory_limit_ends_the_frames() -> None:
    """Near the memory limit the frames end, so that the run closes its window and is started anew."""
    clock, used = Time(), [0]
    keeper = Keeper(event=lambda *_: None, period_s=1, memory=MemoryBound(1000, lambda: used[0]), now=clock)
    seen = 0
    for _ in keeper.frames(frames(clock, 20)):
        seen += 1
        used[0] += 100
    assert seen == 10


def test_costs_are_reported() -> None:
    """The report has the rate and each stage's percentiles in milliseconds."""
    clock = Time()
    keeper = Keeper(event=lambda *_: None, period_s=1, now=clock)

    def detect(frame: Frame) -> list[Frame]:
        clock.now += 0.02
        return [frame]

    stage = keeper.stage("detect", detect)
    for frame in keeper.frames(frames(clock, 20)):
        stage(frame)
    report = keeper.report()
    assert report["stages"] == {"detect": {"p50": 20.0, "p95": 20.0}}
    assert report["fps"] == pytest.approx(1 / 1.02, abs=0.01)
    assert report["rss_mb"] > 5


def test_a_stage_that_hangs_is_stuck_and_one_that_rests_is_not() -> None:
    """A stage inside a call for too long is late; a stage that nobody calls never is."""
    clock = Time()
    inside, go_on = threading.Event(), threading.Event()
    keeper = Keeper(event=lambda *_: None, period_s=1, now=clock)
    resting = keeper.stage("classify", lambda: None)
    resting()

    def hang() -> None:
        inside.set()
        go_on.wait(10)

    thread = threading.Thread(target=keeper.stage("detect", hang))
    thread.start()
    inside.wait(10)
    clock.now += 16
    keeper._loop()
    assert keeper.report()["stuck"] == ["detect"]
    go_on.set()
    thread.join()
    assert keeper.report()["stuck"] == []


def test_waiting_for_a_camera_is_not_stuck() -> None:
    """A loop without a frame is alive while its source looks for one, and a driver within its time-outs is; beyond
    them, or when the source looks no more, they are stuck."""
    clock, looked = Time(), Time()
    camera = {"progress": {"camera": (lambda: 0.0, 615.0)}, "waiting": looked}
    keeper = Keeper(event=lambda *_: None, period_s=1, now=clock, **camera)
    for second in range(0, 610, 10):
        clock.now = looked.now = second
        assert keeper.report()["stuck"] == []
    clock.now = looked.now = 616
    assert keeper.report()["stuck"] == ["camera"]
    clock.now = looked.now + 16
    assert keeper.report()["stuck"] == ["loop", "camera"]


def test_watchdog_is_fed_between_distant_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames further apart than the watchdog's interval do not starve it, and a hung loop does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        clock = Time()
        with Keeper(event=lambda *_: None, period_s=1, notifier=notifier, now=clock):
            for _ in range(10):
                clock.now += 0.2
                time.sleep(0.15)
            manager.setblocking(False)
            fed = drain(manager).count("WATCHDOG=1")
            assert fed >= 3
            clock.now += 20
            time.sleep(0.3)
            drain(manager)
            time.sleep(0.5)
            assert "WATCHDOG=1" not in drain(manager)


def drain(server: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages.append(server.recv(4096).decode())
    except BlockingIOError:
        return messages


def test_a_minute_of_life_is_no_crash(tmp_path: Path) -> None:
    """After 60 s of frames the record of starts is forgotten; an error before that keeps it."""
    clock = Time()
    starts = Starts(tmp_path)
    starts.begin()
    assert (tmp_path / "starts.json").exists()
    keeper = Keeper(event=lambda *_: None, period_s=1, starts=starts, now=clock)
    list(keeper.frames(frames(clock, 50)))
    assert (tmp_path / "starts.json").exists()
    list(keeper.frames(frames(clock, 20)))
    assert not (tmp_path / "starts.json").exists()
    again = Starts(tmp_path)
    again.begin()
    with pytest.raises(ZeroDivisionError), Keeper(event=lambda *_: None, period_s=1, starts=again):
        raise ZeroDivisionError
    assert (tmp_path / "starts.json").exists()


def test_reload_keeps_the_old_when_the_new_is_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SIGHUP with a wrong file, or one that could not start, reports every problem and changes nothing; with a good one
    it gives the new settings."""
    path = tmp_path / "agent.toml"
    path.write_text("[camera]\nfps = 1\n")
    reload = Reload(
        path, load(path, environ={}), environ={}, refuse=lambda new: [ConfigError("no start")] * (new.camera.fps == 3)
    )
    before = signal.getsignal(signal.SIGHUP)
    try:
        reload.listen()
        assert reload.wanted() is None
        path.write_text("[camera]\nfps = 0\nfsp = 1\n")
        os.kill(os.getpid(), signal.SIGHUP)
        assert reload.wanted() is None
        (told,) = (r.getMessage() for r in caplog.records if "config.kept-old" in r.getMessage())
        assert "camera.fps" in told
        assert "camera.fsp" in told
        path.write_text("[camera]\nfps = 3\n")
        os.kill(os.getpid(), signal.SIGHUP)
        assert reload.wanted() is None
        assert "no start" in caplog.records[-1].getMessage()
        path.write_text("[camera]\nfps = 2\n")
        os.kill(os.getpid(), signal.SIGHUP)
        loaded = reload.wanted()
        assert loaded is not None
        assert loaded.settings.camera.fps == 2
        os.kill(os.getpid(), signal.SIGHUP)
        assert reload.wanted() is None
    finally:
        signal.signal(signal.SIGHUP, before)
