"""What the doctor asks of a broker: whether the agent's own topics would be taken, without anything said on them."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.device.check_broker import broker as check
from agent.device.checks import Finding, run
from tests.mqtt_world import Mosquitto, settings, wait_until

ROOT = "fer/v1/test/room/fer"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as made:
        yield made


def found(broker: Mosquitto, **mqtt: object) -> dict[str, Finding]:
    return {f.name: f for f in run({"mqtt": lambda: check(settings(broker.port, **mqtt))})}


@pytest.mark.parametrize("name", ["window", "last", "meta", "event", "health", "homeassistant/device/fer/config"])
def test_a_topic_that_would_be_refused_is_named(name: str, broker: Mosquitto, tmp_path: Path) -> None:
    """A broker whose ACL lacks one of the agent's topics fails the doctor, with the line to add; the rest is looked at
    all the same."""
    names = ["window", "last", "meta", "event", "health", "status", "rsp/#", "cmd/doctor"]
    topics = [*(f"{ROOT}/{each}" for each in names), "homeassistant/device/fer/config"]
    lacks = name if "/" in name else f"{ROOT}/{name}"
    acl = tmp_path / "acl"
    acl.write_text("".join(["topic read #\n", *(f"topic write {topic}\n" for topic in topics if topic != lacks)]))
    broker.configure(f"acl_file {acl}")
    broker.restart()
    report = found(broker, home_assistant=True)
    assert report["mqtt.publish"].verdict == "FAIL"
    assert report["mqtt.publish"].found == f"{lacks}: Not authorized"
    line = lacks.replace(ROOT, "fer/v1/+/+/%u").replace("/fer/config", "/%u/config")
    assert report["mqtt.publish"].mend == f"add to the broker's ACL: pattern write {line}"
    assert {report[step].verdict for step in ("mqtt.subscribe", "mqtt.will")} == {"PASS"}


def test_nobody_hears_what_is_asked(broker: Mosquitto) -> None:
    """Who listens to everything hears the doctor's command, reply and will, and nothing on the agent's own topics."""
    heard: list[str] = []
    listener = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    listener.on_message = lambda _c, _u, message: heard.append(message.topic)
    listener.connect("127.0.0.1", broker.port)
    listener.subscribe("#", qos=2)
    listener.loop_start()
    try:
        assert {f.verdict for f in found(broker, home_assistant=True).values()} == {"PASS"}
        listener.publish("end", b"", qos=2)
        wait_until(lambda: "end" in heard, 60)
    finally:
        listener.disconnect()
        listener.loop_stop()
    assert set(heard) - {"end"} == {f"{ROOT}/{name}" for name in ("rsp/doctor", "cmd/doctor", "status")}


def test_what_a_broker_cannot_be_asked_is_said(broker: Mosquitto) -> None:
    """MQTT 3.1.1 has no answer that says no: that nothing was asked is a WARN."""
    report = found(broker, version="3.1.1")["mqtt.publish"]
    assert (report.verdict, "window" in report.found, 'mqtt.version = "5"' in report.mend) == ("WARN", True, True)


UNAUTHORISED, OLD = b"\x20\x03\x00\x87\x00", b"\x20\x02\x00\x01"
"""Welcomes that are none: of a password that is wrong, and of a broker that has never heard of MQTT 5."""


@pytest.mark.parametrize(
    ("answer", "says"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "mqtt.tls"), (UNAUTHORISED, "mqtt.password_file"), (OLD, '"3.1.1"')],
)
def test_who_answers_and_is_no_broker_for_us_has_a_remedy_of_its_own(answer: bytes, says: str) -> None:
    """A port of something else, a wrong password and an old broker: three remedies."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            server.accept()[0].close()  # the look at TCP alone
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(answer)
                client.recv(4096)

        threading.Thread(target=serve, daemon=True).start()
        report = {f.name: f for f in run({"mqtt": lambda: check(settings(server.getsockname()[1]))})}
    assert (report["mqtt.auth"].verdict, says in report["mqtt.auth"].mend) == ("FAIL", True), report["mqtt.auth"]


def test_a_command_that_an_old_broker_drops_in_silence(broker: Mosquitto, tmp_path: Path) -> None:
    """MQTT 3.1.1 cannot say which way the ACL closes: both lines are named."""
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write fer/v1/test/room/fer/rsp/#\n")
    broker.configure(f"acl_file {acl}")
    broker.restart()
    mend = found(broker, version="3.1.1")["mqtt.subscribe"].mend
    assert "pattern read fer/v1/+/+/%u/cmd/#, pattern write fer/v1/+/+/%u/cmd/doctor" in mend
