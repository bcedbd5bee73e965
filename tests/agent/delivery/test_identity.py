"""Two agents with one id, one of them with a wrong clock: who was there first goes on, whatever the clocks say."""

import logging
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from agent.delivery import payload, wire
from agent.delivery.identity import Twin
from agent.delivery.publish import Publisher
from agent.errors import ConfigError
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, speaker, wait_until


def said(boot_id: str, started_ms: int, session: int, state: wire.State = "ready") -> wire.Status:
    who = speaker(boot_id=boot_id, started_ms=started_ms)
    return payload.status(who, state, None, session=session, epoch="e", newest_seq=0)


def test_a_clone_whose_clock_is_years_behind_is_the_one_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cloned card in a device without a clock battery: the device that was there goes on, the clone ends with 78."""
    caplog.set_level(logging.ERROR)
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path / "a") as healthy,
    ):
        healthy.state("ready")
        assert healthy.wait_connected(10)
        time.sleep(0.05)
        clone = Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path / "b")
        stale = round(time.time() * 1000) - 400 * 86_400_000
        monkeypatch.setattr(clone, "_speaker", replace(clone._speaker, started_ms=stale))
        with clone:
            wait_until(lambda: clone._failure or healthy._failure, 30, "one gives way")
            with pytest.raises(ConfigError, match="two agents have the id 'fer'") as raised:
                clone.check()
            assert raised.value.exit_code == 78
        wait_until(lambda: caplog.text.count("event=mqtt.duplicate_identity") >= 2, 30, "both say it")
        wait_until(healthy._courier.connected.is_set, 30)
        healthy.check()


def test_devices_of_one_id_in_two_schools_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They take each other's connection for ever, on topics of their own: the log says why, and what to do."""
    caplog.set_level(logging.ERROR)
    pace = replace(FAST, spread_s=2.0)
    with Mosquitto(tmp_path / "broker") as broker:
        north = settings(broker.port)
        south = north.model_copy(update={"agent": north.agent.model_copy(update={"site": "south"})})
        with Publisher(north, MADE_BY, pace=pace), Publisher(south, MADE_BY, pace=pace):
            wait_until(lambda: caplog.text.count("event=mqtt.contested") >= 2, 90, "both say it")
    assert "may have the id 'fer'; give each device at a broker its own agent.id" in caplog.text


def looks(me: Twin, other: tuple[str, int], rounds: int) -> list[str]:
    """What `me` says of a twin that takes its place again and again."""
    verdicts = []
    for number in range(rounds):
        me.taken_over()
        me.connected()
        verdicts.append(me.verdict(said(*other, session=other[1] + number)))
    return verdicts


def test_a_will_is_a_twins_sign_only_when_another_follows() -> None:
    """Over MQTT 3.1.1 a twin is seen by its wills alone. One proves nothing: an earlier run that was killed left it."""
    me = Twin("a", 1000)
    me.connected()
    assert me.verdict(said("a", 1000, 1)) is None
    assert [me.verdict(said("b", 2000, session, "lost")) for session in (7, 7, 8)] == [None, None, "older"]
    assert me.verdict(said("b", 2000, 9, "disconnected")) is None


def test_where_neither_found_the_other_the_clocks_decide() -> None:
    """Both came to a broker that kept nothing: for a while both stay, then exactly one ends, as both see it."""
    early, late = Twin("a", 1000), Twin("b", 2000)
    for me, boot in ((early, "a"), (late, "b")):
        me.connected()
        assert me.verdict(said(boot, 0, 1)) is None  # its own birth comes back: nobody was there
    assert looks(early, ("b", 2000), 20) == ["older"] * 20
    assert looks(late, ("a", 1000), 7) == ["older"] * 5 + ["newer"] * 2


def test_twins_that_come_and_go_add_up_to_nothing() -> None:
    """Each start of a twin counts anew: who is there is not worn down by one that is started again and again."""
    me, number = Twin("a", 9000), count(1)
    me.connected()
    me.verdict(said("a", 9000, 1))
    found = [looks(me, (f"twin-{next(number)}", 1000), 3) for _ in range(5)]
    assert found == [["older"] * 3] * 5


def test_a_first_look_that_was_missed_is_not_made_up_later() -> None:
    """Whose first connection ended before it heard anything does not take a later comer for one who was there."""
    me = Twin("a", 1000)
    me.connected()
    assert looks(me, ("b", 2000), 3) == ["older"] * 3


def test_who_was_there_is_known_by_a_will_too() -> None:
    """A will that was found at the first connection, of an agent that is back soon: it was there before."""
    me = Twin("b", 1000)
    me.connected()
    assert me.verdict(said("a", 2000, 5, "lost")) is None
    assert looks(me, ("a", 2000), 1) == ["newer"]
