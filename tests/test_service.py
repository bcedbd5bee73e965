"""The service around the loop, as a program: signals, new configurations, safe mode, status, calibration."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.config import Mqtt
from agent.delivery.subscribe import Subscriber
from agent.device.status_socket import ask
from tests.mqtt_world import Mosquitto
from tests.test_live_run import POLICY, Stream, agent, config, until


@pytest.fixture(scope="module")
def stream(demo_clip: Path) -> Iterator[Stream]:
    """Eight people on an MJPEG stream, for ever."""
    made = Stream(demo_clip)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real broker."""
    with Mosquitto(tmp_path / "broker") as made:
        yield made


class Running:
    """The service as a process, and what it said on MQTT."""

    def __init__(self, file: Path, folder: Path, heard: Subscriber) -> None:
        self._heard, self.log = heard, folder / "agent.log"
        self.messages: list[tuple[str, dict[str, object]]] = []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(agent(file), stdout=log, stderr=log, cwd=folder)

    def said(self, topic: str, **fields: object) -> bool:
        """Whether a message came on a topic that ends like this, with these fields."""
        while message := self._heard.get(0):
            if message.payload:
                self.messages.append((message.topic, json.loads(message.payload)))
        return any(t.endswith(topic) and fields.items() <= body.items() for t, body in self.messages)

    def expect(self, topic: str, **fields: object) -> None:
        try:
            until(lambda: self.said(topic, **fields), 60)
        except AssertionError as error:
            raise AssertionError(f"{topic} {fields}: {self.log.read_text()[-1500:]}") from error


@contextmanager
def running(file: Path, folder: Path, port: int) -> Iterator[Running]:
    with Subscriber(Mqtt(host="127.0.0.1", port=port), ["fer/v1/#"]) as heard:
        made = Running(file, folder, heard)
        try:
            yield made
        finally:
            made.process.kill()
            made.process.wait()


def test_sigterm_ends_it_well(stream: Stream, broker: Mosquitto, tmp_path: Path) -> None:
    """SIGTERM in the middle of a window: that window is sent, flagged partial; goodbye; exit 0; camera closed."""
    file = config(tmp_path, stream.url, broker.port)
    file.write_text(file.read_text().replace("window_s = 3", "window_s = 600"))
    with running(file, tmp_path, broker.port) as service:
        service.expect("/status", state="ready")
        time.sleep(1)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0, service.log.read_text()
        service.expect("/window", partial=True)
        service.expect("/status", state="disconnected")
    until(lambda: stream.watching == 0)


def test_sighup_takes_a_new_configuration_and_keeps_the_old_one(
    stream: Stream, broker: Mosquitto, tmp_path: Path
) -> None:
    """A wrong configuration is told and the old one keeps running; a right one is taken by the same process."""
    file = config(tmp_path, stream.url, broker.port)
    right = file.read_text()
    with running(file, tmp_path, broker.port) as service:
        service.expect("/status", state="ready", room="room")
        file.write_text(right.replace("fps = 2", "fps = 2\nfsp = 3"))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "event=config.kept-old" in service.log.read_text())
        assert "did you mean" in service.log.read_text()
        assert service.process.poll() is None
        file.write_text(right.replace("[agent]", '[agent]\nroom = "other"'))
        service.process.send_signal(signal.SIGHUP)
        service.expect("/status", state="ready", room="other")
        assert service.process.poll() is None


def test_after_five_crashes_it_is_safe(stream: Stream, broker: Mosquitto, tmp_path: Path) -> None:
    """Five starts within a minute that ended badly: the sixth opens no camera, and publishes why."""
    file = config(tmp_path, stream.url, broker.port)
    (tmp_path / "state").mkdir()
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    (tmp_path / "state" / "starts.json").write_text(json.dumps([now - 1] * 5))
    opened = stream.opened
    with running(file, tmp_path, broker.port) as service:
        service.expect("/status", state="degraded")
        reasons = [str(body["reason"]) for topic, body in service.messages if body.get("state") == "degraded"]
        assert "safe mode: 5 starts" in reasons[0]
        assert stream.opened == opened
        service.process.terminate()
        assert service.process.wait(20) == 0


def test_status_tells_how_it_goes_and_no_result(stream: Stream, broker: Mosquitto, tmp_path: Path) -> None:
    """The local socket answers with states and counters; nothing of a window's result is in it."""
    with running(config(tmp_path, stream.url, broker.port), tmp_path, broker.port) as service:
        service.expect("/window")
        report = ask(tmp_path / "status.sock")
    assert report["broker"]["connected"] is True
    assert report["windows"]["newest_seq"] >= 1
    assert {"detect", "classify"} <= set(report["stages"])
    assert not {"engagement", "shares", "valence"} & set(json.dumps(report).replace('"', " ").split())


def test_a_camera_that_is_not_there_is_waited_for(broker: Mosquitto, tmp_path: Path) -> None:
    """No camera at the start: the service is up, degraded with a reason, and its windows say so."""
    file = config(tmp_path, "http://127.0.0.1:1/live", broker.port)
    with running(file, tmp_path, broker.port) as service:
        service.expect("/status", state="degraded", reason="camera.absent")
        service.expect("/window", suppressed="camera.absent")
        assert service.process.poll() is None


def test_a_broker_that_is_not_there_is_waited_for(stream: Stream, broker: Mosquitto, tmp_path: Path) -> None:
    """No broker at the start: the camera is opened, windows are kept, and all of them come later, in order."""
    broker.end()
    file = config(tmp_path, stream.url, broker.port)
    with (tmp_path / "agent.log").open("wb") as log:
        process = subprocess.Popen(agent(file), stdout=log, stderr=log)
    try:
        until(lambda: stream.watching == 1)
        time.sleep(8)
        broker.start()
        with Subscriber(Mqtt(host="127.0.0.1", port=broker.port), ["fer/v1/#"]) as heard:
            numbers: list[int] = []

            def enough() -> bool:
                while message := heard.get(0):
                    if message.topic.endswith("/window"):
                        numbers.append(json.loads(message.payload)["seq"])
                return len(set(numbers)) >= 3

            until(enough, 90)
        assert min(numbers) == 1
    finally:
        process.kill()
        process.wait()


def test_a_calibration_cut_in_half_is_refused(stream: Stream, tmp_path: Path) -> None:
    """calibration.json that is cut in half: exit 78 with one line that names the file; the camera stays closed."""
    file = config(tmp_path, stream.url, 1)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "calibration.json").write_text('{"format": "fer-calibration/1", "id": "cal')
    opened = stream.opened
    done = subprocess.run(agent(file), capture_output=True, text=True, timeout=60)
    assert done.returncode == 78, done.stderr
    assert "calibration.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert stream.opened == opened


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write where nobody may")
def test_stderr_that_is_full_does_not_end_it(stream: Stream, broker: Mosquitto, tmp_path: Path) -> None:
    """With stderr on /dev/full the agent lives and publishes."""
    file = config(tmp_path, stream.url, broker.port, POLICY)
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(agent(file), stdout=full, stderr=full)
    try:
        with Subscriber(Mqtt(host="127.0.0.1", port=broker.port), ["fer/v1/+/+/+/window"]) as heard:
            assert heard.get(60) is not None
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
