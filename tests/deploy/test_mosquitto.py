"""The broker as deployed: TLS, passwords, an ACL that confines each agent, and a doctor that finds what is denied."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.config import Settings
from agent.delivery.embedded import free_port
from agent.device.check_broker import broker as check
from agent.device.checks import run

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
USERS = ("room-1", "room-2", "collector", "viewer", "homeassistant", "admin")
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

pytestmark = pytest.mark.skipif(
    MOSQUITTO is None or shutil.which("openssl") is None or shutil.which("mosquitto_passwd") is None,
    reason="mosquitto and openssl are not here; run: apt install mosquitto openssl",
)

DEBIAN = """\
pid_file {folder}/mosquitto.pid
persistence true
persistence_location {folder}/
include_dir {folder}/conf.d
"""
"""Debian's /etc/mosquitto/mosquitto.conf, but for the log."""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What certificates.sh makes for a broker on 127.0.0.1 and two agents."""
    folder = tmp_path_factory.mktemp("certificates")
    for _ in range(2):  # the second run changes nothing
        subprocess.run([DEPLOY / "certificates.sh", folder, "127.0.0.1", "room-1", "room-2"], check=True)
    return folder


@contextmanager
def serving(folder: Path, certificates: Path, change_acl: Callable[[str], str] = lambda acl: acl) -> Iterator[int]:
    """Run mosquitto as Debian does, with deploy/mosquitto/fer.conf in conf.d, only its paths and its port changed;
    yield the port."""
    port = free_port()
    (folder / "fer.acl").write_text(change_acl((DEPLOY / "fer.acl").read_text()))
    (folder / "fer.passwd").touch(mode=0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", folder / "fer.passwd", user, f"secret-{user}"], check=True)
    text = (DEPLOY / "fer.conf").read_text()
    for old, new in (
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/fer-certs", str(certificates)),
        ("/etc/mosquitto/fer.", f"{folder}/fer."),
    ):
        assert old in text
        text = text.replace(old, new)
    if os.getuid() == 0:
        text += "user root\n"
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "conf.d/fer.conf").write_text(text)
    (folder / "mosquitto.conf").write_text(DEBIAN.format(folder=folder))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(MOSQUITTO), "-c", folder / "mosquitto.conf"], stderr=log, stdout=log)
    try:
        _await_port(port, folder / "log")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _await_port(port: int, log: Path) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"mosquitto did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("broker"), certificates) as number:
        yield number


class Client:
    """An MQTT 5 client that remembers what it hears."""

    def __init__(self, port: int, user: str | None, password: str | None, ca: Path) -> None:
        self.connected: list[str] = []
        self.answers: dict[int, int] = {}
        self.granted: set[int] = set()
        self.heard: list[str] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_connect = lambda _c, _u, _f, code, _p: self.connected.append(str(code))
        self.client.on_publish = lambda _c, _u, mid, code, _p: self.answers.__setitem__(mid, code.value)
        self.client.on_subscribe = lambda _c, _u, mid, _r, _p: self.granted.add(mid)
        self.client.on_message = lambda _c, _u, message: self.heard.append(message.topic)
        if user:
            self.client.username_pw_set(user, password)
        self.client.tls_set(str(ca))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait(lambda: self.connected)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, topic: str) -> None:
        """Return when the broker has answered."""
        mid = self.client.subscribe(topic, qos=1)[1]
        assert wait(lambda: mid in self.granted)

    def publish(self, topic: str) -> int:
        """Return the broker's reason code: 0 or 16 taken, 135 not authorised."""
        mid = self.client.publish(topic, b"{}", qos=1).mid
        wait(lambda: mid in self.answers)
        return self.answers[mid]


def wait(ready: Callable[[], object], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return True
        time.sleep(0.02)
    return False


def login(port: int, certificates: Path, user: str) -> Client:
    return Client(port, user, f"secret-{user}", certificates / "ca.crt")


@pytest.mark.parametrize("name", ["status", "meta", "window", "last", "event", "health", "rsp/ping"])
def test_another_device_is_refused(port: int, certificates: Path, name: str) -> None:
    """An agent may publish its own topics, and is refused (135) on the same topic of another device."""
    with login(port, certificates, "room-1") as agent:
        assert agent.publish(f"fer/v1/site/room/room-1/{name}") in (0, 16)
        assert agent.publish(f"fer/v1/site/room/room-2/{name}") == 135


def test_an_agent_cannot_command_or_acknowledge(port: int, certificates: Path) -> None:
    """An agent may not send commands or acks, not even to itself (but for the doctor's)."""
    with login(port, certificates, "room-1") as agent:
        for topic in ("room-1/cmd/pause", "room-2/cmd/pause", "room-1/ack", "room-2/cmd/doctor"):
            assert agent.publish(f"fer/v1/site/room/{topic}") == 135


ROOM, HOME = "fer/v1/site/room/room-1", "homeassistant/device/room-1/config"


def test_only_the_admin_and_the_agent_clear_what_is_retained(port: int, certificates: Path) -> None:
    """What a removed room left may be cleared by the admin, besides the agent itself, and by nobody else; the admin may
    not speak as a room, order one about, or have it forget windows."""
    for user in USERS:
        with login(port, certificates, user) as client:
            expected = {0, 16} if user in ("admin", "room-1") else {135}
            assert {client.publish(t) for t in (f"{ROOM}/status", f"{ROOM}/meta", f"{ROOM}/last", HOME)} <= expected
    with login(port, certificates, "admin") as admin:
        assert {admin.publish(f"{ROOM}/{name}") for name in ("window", "event", "rsp/ping", "cmd/pause", "ack")} == {
            135
        }


@pytest.mark.parametrize(("user", "left", "says"), [("admin", 0, ""), ("collector", 3, "Not authorized")])
def test_the_command_that_removes_a_room(tmp_path: Path, certificates: Path, user: str, left: int, says: str) -> None:
    """The command of the collector's README clears what a room left; as somebody who may not, it says so."""
    text = (DEPLOY.parent / "collector" / "README.md").read_text()
    script = next(block for block in text.split("```") if "mosquitto_pub" in block).removeprefix("sh")
    with serving(tmp_path, certificates) as port, login(port, certificates, "room-1") as agent:
        changes = {"broker.school": "127.0.0.1", "8883": str(port), "ca.crt": f"{certificates}/ca.crt"}
        changes |= {"-u admin": f"-u {user}", '"$(cat admin-password)"': f"secret-{user}"}
        for old, new in (changes | {"fer/v1/north/b12/fer-3": ROOM}).items():
            script = script.replace(old, new)
        for name in ("status", "meta", "last"):
            agent.client.publish(f"{ROOM}/{name}", b"{}", qos=1, retain=True).wait_for_publish(5)
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
        with login(port, certificates, "viewer") as viewer:
            viewer.client.subscribe(f"{ROOM}/#", qos=1)
            time.sleep(0.5)
            assert (len(viewer.heard), bool(done.stderr), says in done.stderr) == (left, bool(says), True)


def test_an_agent_hears_only_its_own(port: int, certificates: Path) -> None:
    """Subscribed to everything, an agent hears its own commands and acks and nothing of another device."""
    with login(port, certificates, "room-1") as one, login(port, certificates, "room-2") as two:
        one.subscribe("#")
        two.publish("fer/v1/site/room/room-2/window")
        with login(port, certificates, "collector") as collector:
            collector.publish("fer/v1/site/room/room-2/cmd/pause")
            collector.publish("fer/v1/site/room/room-1/cmd/ping")
            collector.publish("fer/v1/site/room/room-1/ack")
        wait(lambda: len(one.heard) >= 2)
        assert sorted(one.heard) == ["fer/v1/site/room/room-1/ack", "fer/v1/site/room/room-1/cmd/ping"]


def test_the_collector_hears_all_and_a_viewer_only_reads(port: int, certificates: Path) -> None:
    """The collector hears every window; a viewer hears it too and can publish nothing."""
    with login(port, certificates, "collector") as collector, login(port, certificates, "viewer") as viewer:
        for listener in (collector, viewer):
            listener.subscribe("fer/v1/#")
        with login(port, certificates, "room-2") as two:
            two.publish("fer/v1/site/room/room-2/window")
        assert wait(lambda: collector.heard and viewer.heard)
        assert viewer.publish("fer/v1/site/room/room-2/cmd/pause") == 135


@pytest.mark.parametrize(("user", "password"), [(None, None), ("room-1", "wrong"), ("nobody", "x")])
def test_strangers_are_refused(port: int, certificates: Path, user: str | None, password: str | None) -> None:
    """Without a name, with a wrong password or an unknown name, nobody connects."""
    with Client(port, user, password, certificates / "ca.crt") as stranger:
        assert stranger.connected[0] in ("Not authorized", "Bad user name or password")


def test_retained_messages_outlive_a_restart(tmp_path: Path, certificates: Path) -> None:
    """The broker as deployed keeps what is retained on its disk."""
    status = "fer/v1/site/room/room-1/status"
    with serving(tmp_path, certificates) as port, login(port, certificates, "room-1") as agent:
        agent.client.publish(status, b"{}", qos=1, retain=True)
        agent.publish("fer/v1/site/room/room-1/window")
    with serving(tmp_path, certificates) as port, login(port, certificates, "viewer") as viewer:
        viewer.client.subscribe(status, qos=1)
        assert wait(lambda: viewer.heard == [status])


def test_keys_are_private(certificates: Path) -> None:
    """No key that certificates.sh makes can be read by others; certificates can."""
    assert {oct(p.stat().st_mode & 0o077) for p in certificates.glob("*.key")} == {"0o0"}
    assert {oct(p.stat().st_mode & 0o777) for p in certificates.glob("*.crt")} == {"0o644"}


def diagnosed(port: int, folder: Path, ca: Path, password: str = "secret-room-1") -> dict[str, tuple[str, str]]:
    """Return what the doctor says of the broker: check → (verdict, found and mend)."""
    secret = folder / "password"
    secret.write_text(password + "\n")
    secret.chmod(0o600)
    mqtt_settings = {"host": "127.0.0.1", "port": port, "tls": True, "ca_file": ca}
    login_settings = {"username": "room-1", "password_file": secret}
    settings = Settings.model_validate({"agent": {"id": "room-1"}, "mqtt": {**mqtt_settings, **login_settings}})
    return {f.name: (f.verdict, f"{f.found} → {f.mend}") for f in run({"mqtt": lambda: check(settings)})}


def test_doctor_passes_the_deployed_broker(port: int, tmp_path: Path, certificates: Path) -> None:
    """With the deployed configuration every step passes: name, TCP, TLS, password, publish, subscribe, will."""
    found = diagnosed(port, tmp_path, certificates / "ca.crt")
    assert {name: verdict for name, (verdict, _) in found.items()} == {
        f"mqtt.{step}": "PASS" for step in ("dns", "tcp", "tls", "auth", "publish", "subscribe", "will")
    }


def test_doctor_names_a_wrong_password(port: int, tmp_path: Path, certificates: Path) -> None:
    """A wrong password is a FAIL of mqtt.auth, and the password is not shown."""
    verdict, text = diagnosed(port, tmp_path, certificates / "ca.crt", "hunter2")["mqtt.auth"]
    assert verdict == "FAIL"
    assert "hunter2" not in text


def test_doctor_names_an_untrusted_certificate(port: int, tmp_path: Path, certificates: Path) -> None:
    """A broker whose certificate another authority signed is not trusted, and nothing is sent to it."""
    found = diagnosed(port, tmp_path, certificates / "room-2.crt")
    assert found["mqtt.connect"][0] == "FAIL"
    assert "not trusted" in found["mqtt.connect"][1]
    assert "mqtt.auth" not in found


@pytest.mark.parametrize(
    ("removed", "step", "added"),
    [
        ("pattern read fer/v1/+/+/%u/cmd/#", "mqtt.subscribe", "pattern read fer/v1/+/+/%u/cmd/#"),
        ("pattern write fer/v1/+/+/%u/rsp/#", "mqtt.publish", "pattern write fer/v1/+/+/%u/rsp/doctor"),
        ("pattern write fer/v1/+/+/%u/status", "mqtt.will", "pattern readwrite fer/v1/+/+/%u/status"),
    ],
)
def test_doctor_finds_what_the_acl_denies(
    tmp_path: Path, certificates: Path, removed: str, step: str, added: str
) -> None:
    """A line missing from the ACL is found although the broker answers "granted", and the line is named."""
    with serving(tmp_path, certificates, lambda acl: acl.replace(removed + "\n", "")) as port:
        verdict, text = diagnosed(port, tmp_path, certificates / "ca.crt")[step]
    assert verdict == "FAIL"
    assert added in text


def test_doctor_without_a_broker(tmp_path: Path, certificates: Path) -> None:
    """No broker at all is one FAIL with what to check."""
    found = diagnosed(free_port(), tmp_path, certificates / "ca.crt")
    assert found["mqtt.connect"][0] == "FAIL"
    assert "connection refused" in found["mqtt.connect"][1]
