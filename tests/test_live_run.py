"""The service on a live stream: no policy no start, a pause closes the stream, the network cannot undo a local one."""

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import paho.mqtt.client as mqtt
import pytest

from agent.config.file import load
from agent.device.status_socket import ask, socket_path
from tests.faults.service_world import POLICY
from tests.mqtt_world import Mosquitto, wait_until


class Stream:
    """A camera on the network (MJPEG over HTTP) that plays a clip for ever and counts who is watching."""

    def __init__(self, clip: Path) -> None:
        capture, self.pictures, self.watching, self.opened = cv2.VideoCapture(str(clip)), [], 0, 0
        while (read := capture.read())[0]:
            self.pictures.append(cv2.imencode(".jpg", read[1])[1].tobytes())
        stream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stream.watching += 1
                stream.opened += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
                self.end_headers()
                try:
                    for i in range(100_000):
                        jpeg = stream.pictures[i % len(stream.pictures)]
                        head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        time.sleep(0.25)
                except OSError:
                    pass
                finally:
                    stream.watching -= 1

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/live"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def stream(demo_clip: Path) -> Iterator[Stream]:
    made = Stream(demo_clip)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """Port of a real mosquitto on this machine."""
    with Mosquitto(tmp_path / "broker") as made:
        yield made.port


def config(folder: Path, source: str, port: int, policy: str = POLICY) -> Path:
    """Write agent.toml: windows long enough and tiles few enough for five samples a seat on a busy machine."""
    file = folder / "agent.toml"
    file.write_text(
        f'[agent]\nstate_dir = "{folder}/state"\n[camera]\nsource = "{source}"\nfps = 2\n[engagement]\nwindow_s = 12\n'
        f'[detect]\nsmallest_face_px = 44\n[privacy]\npause_file = "{folder}/pause"\n[mqtt]\nport = {port}\n{policy}'
    )
    return file


def agent(file: Path) -> list[str]:
    return [sys.executable, "-B", "-m", "agent", "run", "--config", str(file)]


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("", "needs a filled [policy] section"),
        (POLICY.replace('"Written"', '""'), "missing or empty: consent"),
        (POLICY.replace("research", "education").replace("CH", "DE"), "Art. 5(1)(f)"),
        (POLICY + "[[schedule]]\ndays = ['mon']\nstart = '08:00'\nend = '08:00'\n", "start"),
    ],
)
def test_a_live_camera_does_not_start_without_its_policy(
    stream: Stream, tmp_path: Path, policy: str, says: str
) -> None:
    """No policy, one empty field, EU education, hours of no length: exit 78, and the camera was not opened."""
    done = subprocess.run(agent(config(tmp_path, stream.url, 1, policy)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 78, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert stream.opened == 0


class Listener:
    """A client that keeps windows and sends commands."""

    def __init__(self, port: int) -> None:
        self.windows: list[dict[str, object]] = []
        self.timed: list[tuple[bool, bool]] = []
        """(whether the newest window had a result, whether the stages' times were told) of every health message."""
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.subscribe("fer/v1/#")
        self.client.loop_start()

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        if message.topic.endswith("/window"):
            self.windows.append(json.loads(message.payload))
        if message.topic.endswith("/health") and self.windows:
            told = json.loads(message.payload).get("stages") is not None
            self.timed.append((self.windows[-1]["suppressed"] is None, told))

    def order(self, name: str) -> None:
        self.client.publish(f"fer/v1/demo/room/fer/cmd/{name}", b"{}", qos=1).wait_for_publish(10)

    def has(self, suppressed: str | None) -> Callable[[], bool]:
        """A question: did a window with this reason come since now?"""
        start = len(self.windows)
        return lambda: any(w["suppressed"] == suppressed for w in self.windows[start:])


def test_off_means_off(stream: Stream, broker: int, tmp_path: Path) -> None:
    """On a live stream with a policy: results come; a local pause closes the stream; `resume` from the network does not
    open it; removing the file does; the network's own pause and resume work; everything is in the audit log."""
    listener = Listener(broker)
    log = (tmp_path / "agent.log").open("wb")
    process = subprocess.Popen(agent(config(tmp_path, stream.url, broker)), stderr=log, stdout=log)
    try:
        wait_until(listener.has(None), 90)
        assert stream.watching == 1
        (tmp_path / "pause").touch()
        wait_until(lambda: stream.watching == 0, 60)
        wait_until(listener.has("paused"), 60)
        listener.order("resume")
        time.sleep(3)
        assert stream.watching == 0, "the network undid a local pause"
        (tmp_path / "pause").unlink()
        wait_until(lambda: stream.watching == 1, 60)
        wait_until(listener.has(None), 60)
        listener.order("pause")
        wait_until(lambda: stream.watching == 0, 60)
        listener.order("resume")
        wait_until(lambda: stream.watching == 1, 60)
    finally:
        process.terminate()
        process.wait(30)
        listener.client.loop_stop()
        log.close()
    text = (tmp_path / "agent.log").read_text()
    assert process.returncode == 0, text
    # What a withheld window took is withheld with it: it tells of how many faces, and how often they could be read.
    assert set(listener.timed) == {(True, True), (False, False)}
    modes = [json.loads(line) for line in (tmp_path / "state" / "audit.log").read_text().splitlines()]
    switched = [entry["detail"]["sensing"] for entry in modes if entry["event"] == "mode"]
    assert switched[:5] == ["on", "off", "on", "off", "on"]
    verified = subprocess.run(
        [sys.executable, "-m", "agent", "audit", "verify", "--state-dir", str(tmp_path / "state")], capture_output=True
    )
    assert verified.returncode == 0, verified.stderr


def test_a_calibration_that_is_cut_in_half_is_refused(stream: Stream, tmp_path: Path) -> None:
    """Half a calibration.json: exit 78, one line that names the file, and the camera was not opened."""
    file = config(tmp_path, stream.url, 1)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "calibration.json").write_text('{"format": "fer-calibration/1", "id": "cal')
    done = subprocess.run(agent(file), capture_output=True, text=True, timeout=60)
    assert done.returncode == 78, done.stderr
    assert "calibration.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert stream.opened == 0


def test_status_tells_what_the_work_took_only_with_a_result(stream: Stream, broker: int, tmp_path: Path) -> None:
    """While the first window is open `status` says nothing of how long its faces took: it may have few. Once it has a
    result, it does."""
    listener, file = Listener(broker), config(tmp_path, stream.url, broker)
    asked = socket_path(load(file).settings)
    process = subprocess.Popen(agent(file), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until(asked.exists, 60)
        wait_until(lambda: ask(asked)["fps"] is not None, 60)
        assert (ask(asked)["stages"], listener.windows) == (None, [])
        wait_until(listener.has(None), 90)
        wait_until(lambda: ask(asked)["stages"] is not None, 10)
    finally:
        process.terminate()
        process.wait(30)
        listener.client.loop_stop()
