"""The kill switch, the schedule's answer, and the status light."""

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.config import Hours
from agent.errors import PolicyError
from agent.trust.audit import AuditLog
from agent.trust.gpio import Light, Switch
from agent.trust.pause import Pause
from agent.trust.sensing import LocalZone, Sensing, local_zone


@pytest.fixture
def pause(tmp_path: Path) -> Pause:
    return Pause(tmp_path / "run" / "pause", tmp_path)


def local_file(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(exist_ok=True)
    return tmp_path / "run" / "pause"


def test_a_file_turns_sensing_off(pause: Pause, tmp_path: Path) -> None:
    """Sensing is off exactly while the file exists, whatever is in it."""
    assert pause.reason() is None
    local_file(tmp_path).touch()
    assert pause.reason() == "paused"
    local_file(tmp_path).unlink()
    assert pause.reason() is None


def test_a_dangling_link_is_a_pause(pause: Pause, tmp_path: Path) -> None:
    """Something stands at the path: off."""
    local_file(tmp_path).symlink_to("/nowhere")
    assert pause.reason() == "paused"


def test_a_place_that_cannot_be_looked_at_is_a_pause(tmp_path: Path) -> None:
    """Nobody knows whether the file is there: off."""
    assert Pause(tmp_path / ("x" * 300), tmp_path).reason() == "paused"


def test_the_network_undoes_only_its_own_pause(pause: Pause, tmp_path: Path) -> None:
    """Paused by both: `resume` removes the network's pause, and the local one holds."""
    pause.pause()
    local_file(tmp_path).touch()
    assert (pause.local, pause.remote) == (True, True)
    pause.resume()
    assert (pause.local, pause.remote) == (True, False)
    assert pause.reason() == "paused"
    assert local_file(tmp_path).exists()


def test_the_network_pauses_and_resumes(pause: Pause) -> None:
    """`pause` is off at once, `resume` on again; both may be repeated."""
    pause.pause()
    pause.pause()
    assert pause.reason() == "paused"
    pause.resume()
    pause.resume()
    assert pause.reason() is None


def test_the_networks_pause_survives_a_restart(pause: Pause, tmp_path: Path) -> None:
    """A new process in the same state folder is still paused."""
    pause.pause()
    assert Pause(tmp_path / "run" / "pause", tmp_path).reason() == "paused"


def test_a_pause_that_cannot_be_written_holds_for_this_process(tmp_path: Path) -> None:
    """No state folder: off all the same."""
    pause = Pause(tmp_path / "pause", tmp_path / "nowhere")
    pause.pause()
    assert pause.reason() == "paused"
    pause.resume()
    assert pause.reason() is None


def test_the_switch_is_a_local_pause(tmp_path: Path) -> None:
    """While the GPIO switch is closed the network cannot resume."""
    closed = [True]
    pause = Pause(tmp_path / "pause", tmp_path, lambda: closed[0])
    pause.resume()
    assert pause.reason() == "paused"
    closed[0] = False
    assert pause.reason() is None


def test_the_network_thread_can_pause(pause: Pause) -> None:
    """`pause` called in another thread is seen at once here."""
    thread = threading.Thread(target=pause.pause)
    thread.start()
    thread.join()
    assert pause.reason() == "paused"


NIGHT = Hours(days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), start="22:00", end="23:00")


def test_sensing_says_why_and_audits_each_change(pause: Pause, tmp_path: Path) -> None:
    """Closed by the schedule, open, paused: asked thrice each, three changes in the audit log."""
    now, log = [0.0], AuditLog(tmp_path)
    sensing = Sensing((NIGHT,), pause, log, zone=lambda: UTC, clock=lambda: now[0])
    assert {sensing() for _ in range(3)} == {"schedule"}
    now[0] = 22.5 * 3600
    assert {sensing() for _ in range(3)} == {None}
    pause.pause()
    assert {sensing() for _ in range(3)} == {"paused"}
    details = [json.loads(line)["detail"] for line in log.path.read_text().splitlines()]
    assert [(d["sensing"], d["reason"]) for d in details] == [("off", "schedule"), ("on", None), ("off", "paused")]


def test_without_a_schedule_only_a_pause_closes(pause: Pause) -> None:
    """No hours: always open but for a pause."""
    assert Sensing((), pause)() is None


def test_the_local_zone_has_its_rules(tmp_path: Path) -> None:
    """$TZ wins, then /etc/localtime, then UTC; an unknown $TZ is refused."""
    assert local_zone({"TZ": "Europe/Berlin"}) == ZoneInfo("Europe/Berlin")
    assert local_zone({"TZ": ":Europe/Berlin"}) == ZoneInfo("Europe/Berlin")
    assert local_zone({}, tmp_path / "none") is UTC
    with pytest.raises(PolicyError, match="Mars/Olympus"):
        local_zone({"TZ": "Mars/Olympus"})


def test_the_hours_follow_the_zone_that_is_set(pause: Pause, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stood on UTC and is put into its own zone: the hours count there at once, no restart is needed;
    while the file is being replaced the zone of before holds."""
    monkeypatch.delenv("TZ", raising=False)
    zones, localtime = Path("/usr/share/zoneinfo"), tmp_path / "localtime"
    night = datetime(2026, 3, 6, 22, 30, tzinfo=UTC).timestamp()  # 23:30 in Berlin
    localtime.symlink_to(zones / "Etc/UTC")
    late = Hours(days=("fri",), start="23:00", end="01:00")
    sensing = Sensing((late,), pause, zone=LocalZone(localtime), clock=lambda: night)
    assert sensing() == "schedule"
    (tmp_path / "new").symlink_to(zones / "Europe/Berlin")
    (tmp_path / "new").rename(localtime)
    assert sensing() is None
    localtime.unlink()
    assert sensing() is None


@pytest.fixture
def pins():
    """gpiozero's own simulated pins."""
    gpiozero = pytest.importorskip("gpiozero", reason="gpiozero is not installed")
    from gpiozero.pins.mock import MockFactory

    factory, before = MockFactory(), gpiozero.Device.pin_factory
    gpiozero.Device.pin_factory = factory
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = before


def test_the_light_is_on_while_the_camera_is_open(pins) -> None:
    """On, off, and off when left, on a simulated line 17."""
    with Light(17) as light:
        assert pins.pin(17).state == 0
        light.on()
        assert pins.pin(17).state == 1
        light.off()
        assert pins.pin(17).state == 0
        light.on()
        pin = pins.pin(17)
        seen = pin.states[-1].state
    assert seen == 1
    assert pin.states[-1].state == 0, "left while on: switched off"


def test_the_light_follows_the_camera(pins, pause: Pause) -> None:
    """On with the answer that lets the camera open; off only when the camera says that it is closed."""
    with Light(17) as light:
        sensing, pin = Sensing((), pause, light=light), pins.pin(17)
        camera = [True]
        sensing.held = lambda: camera[0]
        assert (sensing(), pin.state) == (None, 1)
        pause.pause()
        assert (sensing(), pin.state) == ("paused", 1), "the camera closes after this answer"
        assert (sensing(), pin.state) == ("paused", 1), "its driver may take seconds"
        camera[0] = False
        assert (sensing(), pin.state) == ("paused", 0)
        pause.resume()
        assert (sensing.reason(), pin.state) == (None, 0), "only the question before opening switches it"
        assert (sensing(), pin.state) == (None, 1)


def test_the_switch_is_read_from_its_line(pins) -> None:
    """Pulled to ground is closed."""
    with Switch(4) as switch:
        assert not switch.closed()
        pins.pin(4).drive_low()
        assert switch.closed()
        pins.pin(4).drive_high()
        assert not switch.closed()


def test_a_line_that_fails_while_it_is_used(pins, caplog: pytest.LogCaptureFixture) -> None:
    """A switch that cannot be read counts as closed, a light that cannot be set is said; neither ends a run."""
    import gpiozero

    with Light(17) as light, Switch(4) as switch:
        assert not switch.closed()
        for device in [gpiozero.Device.pin_factory._reservations[number] for number in list(pins._reservations)]:
            for reference in device:
                reference().close()
        assert [switch.closed(), switch.closed()] == [True, True]
        light.on()
    assert caplog.text.count("event=gpio.failed line=4") == 1
    assert caplog.text.count("event=gpio.failed line=17") == 1


def test_no_line_is_a_no_op() -> None:
    """Unset: nothing opens, nothing happens, nothing is paused."""
    with Light(None) as light, Switch(None) as switch:
        light.on()
        light.off()
        assert not switch.closed()


def test_a_line_that_cannot_be_opened(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPIO here: the light is a no-op with a warning; a kill switch that cannot be read counts as closed."""
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "lgpio")
    with Light(17) as light, Switch(4) as switch:
        light.on()
        assert switch.closed()
    assert "event=gpio.unavailable line=17" in caplog.text
