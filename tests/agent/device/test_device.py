"""Watchdog, clock, heat, memory: fed with plain numbers, real sockets and fake sysfs."""

import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.device.clock import _STATUS_OFFSET, DeviceClock, kernel_synced
from agent.device.memory import MemoryBound, group_limit, rss_bytes
from agent.device.notify import Notifier, Watchdog
from agent.device.thermal import Reading, Thermal, read


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """What systemd gives a service: a socket to notify, and a watchdog of 30 s."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(0.2)
        yield server, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}


def received(server: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages.append(server.recv(4096).decode())
    except TimeoutError:
        return messages


def test_watchdog_is_fed_while_stages_move(manager: tuple[socket.socket, dict[str, str]]) -> None:
    """While every stage makes progress the watchdog is fed three times an interval, not more."""
    server, environ = manager
    clock = Time()
    dog = Watchdog(Notifier(environ), environ=environ, clock=clock)
    dog.watch("loop", lambda: clock.now, 5)
    for _ in range(60):
        clock.now += 1
        assert dog.tick()
    assert received(server) == ["WATCHDOG=1"] * 6


def test_one_stuck_stage_stops_the_food(manager: tuple[socket.socket, dict[str, str]]) -> None:
    """One stage that stands still stops the food for good, and the status line names it."""
    server, environ = manager
    clock = Time()
    dog = Watchdog(Notifier(environ), environ=environ, clock=clock)
    dog.watch("loop", lambda: clock.now, 5)
    dog.watch("camera", lambda: 100.0, 20)
    for _ in range(60):
        clock.now += 1
        dog.tick()
    assert dog.late() == ("camera",)
    messages = received(server)
    assert messages.count("WATCHDOG=1") <= 3
    assert messages[-1] == "STATUS=stuck: camera"


def test_notify_survives_without_a_manager(tmp_path: Path) -> None:
    """No socket, or one that nobody listens on, is silence and no error; another process' watchdog is not ours."""
    assert not Notifier({}).send(READY=1)
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).send(READY=1)
    assert Watchdog(Notifier({}), environ={"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).interval_s == 0


def test_notify_keeps_one_field_a_line(manager: tuple[socket.socket, dict[str, str]]) -> None:
    """A line break in a status text cannot smuggle in a second field."""
    server, environ = manager
    Notifier(environ).status("bad\nWATCHDOG=1")
    assert received(server) == ["STATUS=bad WATCHDOG=1"]


def test_clock_set_after_boot_changes_labels_not_durations() -> None:
    """A clock that jumps years forward is a step; labels follow it, and differences within a window stay."""
    wall, mono, good = Time(), Time(), [False]
    clock = DeviceClock(wall=wall, monotonic=mono, boot=mono, is_synced=lambda: good[0])
    first = clock(90.0)
    assert (first.utc_ms, first.synced, first.source) == (90_000, False, "none")
    assert clock.step() is None
    wall.now += 3e8
    good[0] = True
    step = clock.step()
    assert step is not None
    assert step.by_s == 3e8
    assert clock(100.0).utc_ms - clock(40.0).utc_ms == 60_000
    assert (clock(90.0).synced, clock(90.0).source) == (True, "ntp")
    assert clock.step() is None


def test_clock_stepped_back_is_told() -> None:
    """An hour back is a step of -3600 s; slewing is none."""
    wall, mono = Time(), Time()
    clock = DeviceClock(wall=wall, monotonic=mono, boot=mono, is_synced=lambda: True)
    wall.now -= 3600
    step = clock.step()
    assert step is not None
    assert step.by_s == -3600
    for _ in range(1000):
        wall.now += 1.0005
        mono.now += 1
        assert clock.step() is None


def test_a_sleep_is_no_step() -> None:
    """A machine that slept for eight hours finds its wall clock where it should be: nobody set it."""
    wall, mono, boot = Time(), Time(), Time()
    clock = DeviceClock(wall=wall, monotonic=mono, boot=boot, is_synced=lambda: True)
    for asleep in (0, 8 * 3600):
        wall.now += 5 + asleep
        boot.now += 5 + asleep
        mono.now += 5
        assert clock.step() is None


class Timex(ctypes.Structure):
    """struct timex of <linux/timex.h>, up to the field that counts here, and room for the rest."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def test_kernel_state_agrees_with_the_c_struct() -> None:
    """`status` is read from where the C struct has it, and the verdict is true without the return value 5 (an error)
    and the bit STA_UNSYNC; None where the call is forbidden."""
    assert Timex.status.offset == _STATUS_OFFSET
    now = Timex()
    state = ctypes.CDLL(None).adjtimex(ctypes.byref(now))
    assert kernel_synced() is (None if state < 0 else state != 5 and not now.status & 0x40)


def sysfs(folder: Path, *millidegrees: int, alarm: int = 0) -> Path:
    for number, value in enumerate(millidegrees):
        zone = folder / f"class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "temp").write_text(f"{value}\n")
    hwmon = folder / "class/hwmon/hwmon0"
    hwmon.mkdir(parents=True, exist_ok=True)
    (hwmon / "in0_lcrit_alarm").write_text(f"{alarm}\n")
    return folder


def test_sensors_of_a_fake_sysfs(tmp_path: Path) -> None:
    """The hottest zone counts, unused zones do not, an alarm is an under-voltage, and nothing is no error."""
    assert read(tmp_path / "none") == Reading(None, under_voltage=False)
    assert read(sysfs(tmp_path, 41_000, 62_500, -273_200, alarm=1)) == Reading(62.5, under_voltage=True)


def test_heat_lowers_the_rate_in_steps(tmp_path: Path) -> None:
    """75, 80 and 85 °C lower the rate, each with one event; it comes back 5 °C lower, without flapping."""
    thermal = Thermal(lambda: read(tmp_path))
    seen = []
    for degrees in (60, 74, 75, 76, 80, 79, 86, 81, 80, 76, 75, 71, 70, 60):
        sysfs(tmp_path, degrees * 1000)
        change = thermal.update()
        seen.append((degrees, thermal.share, change.reason if change else None))
    assert seen == [
        (60, 1.0, None),
        (74, 1.0, None),
        (75, 0.75, "thermal.hot"),
        (76, 0.75, None),
        (80, 0.5, "thermal.hot"),
        (79, 0.5, None),
        (86, 0.25, "thermal.hot"),
        (81, 0.25, None),
        (80, 0.5, "thermal.hot"),
        (76, 0.5, None),
        (75, 0.75, "thermal.hot"),
        (71, 0.75, None),
        (70, 1.0, "thermal.normal"),
        (60, 1.0, None),
    ]


def test_weak_supply_halves_the_rate(tmp_path: Path) -> None:
    """Under-voltage halves the rate and says so; it comes back with the supply."""
    thermal = Thermal(lambda: read(tmp_path))
    sysfs(tmp_path, 50_000, alarm=1)
    change = thermal.update()
    assert change is not None
    assert (change.share, change.reason) == (0.5, "thermal.under-voltage")
    sysfs(tmp_path, 50_000)
    change = thermal.update()
    assert change is not None
    assert change.reason == "thermal.normal"


def test_memory_of_this_process() -> None:
    """This process uses more than 5 MB and less than the machine has."""
    assert 5e6 < rss_bytes() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_limit_of_the_control_group(tmp_path: Path) -> None:
    """MemoryMax is found in control groups of version 2 and 1; "max" and absent files are no limit."""
    (tmp_path / "cgroup").write_text("0::/a.service\n")
    (tmp_path / "a.service").mkdir()
    (tmp_path / "a.service/memory.max").write_text("max\n")
    assert group_limit(tmp_path / "cgroup", tmp_path) is None
    (tmp_path / "a.service/memory.max").write_text("1048576\n")
    assert group_limit(tmp_path / "cgroup", tmp_path) == 1048576
    (tmp_path / "cgroup").write_text("4:memory:/b\n")
    (tmp_path / "memory/b").mkdir(parents=True)
    (tmp_path / "memory/b/memory.limit_in_bytes").write_text("2097152\n")
    assert group_limit(tmp_path / "cgroup", tmp_path) == 2097152
    assert group_limit(tmp_path / "none", tmp_path) is None


def test_memory_bound() -> None:
    """Above 0.9 of the limit the agent should end; without a limit never."""
    used = [0]
    bound = MemoryBound(1000, lambda: used[0])
    used[0] = 900
    assert not bound.exceeded()
    used[0] = 901
    assert bound.exceeded()
    assert not MemoryBound(None, lambda: 10**12).exceeded()
