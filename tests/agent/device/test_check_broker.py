"""What the doctor asks of a broker: whether the agent's own topics would be taken, without anything said on them."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.device.check_broker import broker as check
from agent.device.checks import Finding, run
from tests.curt_broker import CurtBroker, serving
from tests.mqtt_world import Mosquitto, settings, wait_until

ROOT = "fer/v1/test/room/fer"


def found(broker: Mosquitto, **mqtt: object) -> dict[str, Finding]:
    return report_of(broker.port, **mqtt)


def report_of(port: int, **mqtt: object) -> dict[str, Finding]:
    return {f.name: f for f in run({"mqtt": lambda: check(settings(port, **mqtt))})}


@contextmanager
def refusing_wills(broker: Mosquitto) -> Iterator[int]:
    """A port of `broker` that refuses who brings a will, as ejabberd does where the will's topic is forbidden."""

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", broker.port)) as server:
            first = client.recv(4096)
            _, name, rest = first.partition(b"MQTT")
            if name and rest[1] & 4:  # the flags, after the version
                client.sendall(b"\x20\x03\x00\x90\x00")
                return
            server.sendall(first)
            back = threading.Thread(target=pass_on, args=(server, client), daemon=True)
            back.start()
            pass_on(client, server)
            back.join(10)

    with serving(serve) as port:
        yield port


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


def test_a_name_that_no_resolver_takes_is_a_mistake_in_the_configuration() -> None:
    """Of a misspelt name nobody has to report a fault of the doctor's."""
    report = report_of(1883, host="broker..local")
    assert report["mqtt.connect"].verdict == "FAIL"
    assert report["mqtt.connect"].mend.startswith("check mqtt.host")


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ("max_inflight_messages 1", "WARN"),
        ("max_inflight_messages 6", "WARN"),
        ("max_inflight_messages 7", "PASS"),
        ("max_qos 1", "WARN"),
    ],
)
def test_a_broker_that_cannot_be_asked_so_denies_nothing(limit: str, verdict: str, broker: Mosquitto) -> None:
    """What is asked and never released counts against its Receive Maximum: "quota exceeded" is no word of an ACL."""
    broker.configure(limit)
    broker.restart()
    report = found(broker, home_assistant=True)
    assert report.pop("mqtt.publish").verdict == verdict
    assert {finding.verdict for finding in report.values()} == {"PASS"}


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


def test_a_password_without_a_user_name_is_brought_as_the_agent_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty name: a broker may take that otherwise than nobody."""
    monkeypatch.setenv("FER_MQTT_PASSWORD", "hunter2")
    heard: list[bytes] = []

    def serve(client: socket.socket) -> None:
        heard.append(client.recv(4096))
        client.sendall(b"\x20\x03\x00\x86\x00")

    with serving(serve) as port:
        found = report_of(port)
    (connect,) = filter(None, heard)
    assert found["mqtt.auth"].verdict == "FAIL"
    assert connect.endswith(b"\x00\x00" + b"\x00\x07hunter2")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_refused_subscription_is_no_silence(version: str, broker: Mosquitto, tmp_path: Path) -> None:
    """A broker that says no to a subscription, as NATS, ejabberd and mosquitto's dynamic security do, is quoted, and
    the line that lets the agent read is named."""
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if plugin is None:
        pytest.skip("mosquitto's dynamic security is not installed")
    rules = tmp_path / "rules.json"
    access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    everyone = {"groups": [{"groupname": "everyone", "roles": []}], "anonymousGroup": "everyone"}
    rules.write_text(json.dumps({"defaultACLAccess": access, "clients": [], "roles": [], **everyone}))
    broker.configure(f"plugin {plugin}", f"plugin_opt_config_file {rules}")
    broker.restart()
    denied = found(broker, version=version)["mqtt.subscribe"]
    reason = "Not authorized" if version == "5" else "Unspecified error"
    assert (denied.verdict, denied.found) == ("FAIL", f"{ROOT}/cmd/#: the broker refused: {reason}")
    assert denied.mend.startswith("add to the broker's ACL: pattern read fer/v1/+/+/%u/cmd/# (")


@pytest.mark.parametrize(
    ("forbidden", "step", "found", "line"),
    [
        ("doctor", "mqtt.publish", "rsp/doctor", "pattern write fer/v1/+/+/%u/rsp/doctor"),
        ("#", "mqtt.subscribe", "cmd/#", "pattern read fer/v1/+/+/%u/cmd/#"),
    ],
)
def test_a_broker_that_ends_the_connection_over_a_topic(forbidden: str, step: str, found: str, line: str) -> None:
    """RabbitMQ's way to say no: what it ended the connection over is named, and nothing that then cannot be asked."""
    with CurtBroker(forbidden) as curt:
        report = report_of(curt.port, version="3.1.1")
        assert curt.welcomes == 1
    assert list(report)[-1] == step
    assert (report[step].verdict, report[step].found) == ("FAIL", f"{ROOT}/{found}: the broker ended the connection")
    assert line in report[step].mend


def test_a_will_that_is_refused_with_its_connection_is_no_wrong_password(broker: Mosquitto) -> None:
    """The same login was welcome without a will: the line that the ACL lacks is named, not the login."""
    with refusing_wills(broker) as port:
        report = report_of(port)
    assert {name for name, finding in report.items() if finding.verdict == "FAIL"} == {"mqtt.will"}
    assert report["mqtt.will"].found == f"{ROOT}/status: the broker refused: Topic name invalid"
    assert report["mqtt.will"].mend == "add to the broker's ACL: pattern readwrite fer/v1/+/+/%u/status"


def test_a_command_that_an_old_broker_drops_in_silence(broker: Mosquitto, tmp_path: Path) -> None:
    """MQTT 3.1.1 cannot say which way the ACL closes: both lines are named."""
    acl = tmp_path / "acl"
    acl.write_text("topic read #\ntopic write fer/v1/test/room/fer/rsp/#\n")
    broker.configure(f"acl_file {acl}")
    broker.restart()
    mend = found(broker, version="3.1.1")["mqtt.subscribe"].mend
    assert "pattern read fer/v1/+/+/%u/cmd/#, pattern write fer/v1/+/+/%u/cmd/doctor" in mend
