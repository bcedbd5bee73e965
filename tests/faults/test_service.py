"""The whole service under faults of process, camera, clock and configuration: a real process, camera and broker."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import config
from agent.calibration import record
from agent.device.crashes import SPAN_S
from agent.vision.model_card import MODELS, Bundle
from tests.agent.calibration.test_record import made
from tests.cameras import MjpegServer, mjpeg_server
from tests.faults.edge_tpu import edge_tpu
from tests.faults.service_world import ROOT, START_S, Agent
from tests.mqtt_world import Mosquitto, free_port, wait_until
from tests.reference_subscriber import ReferenceSubscriber

pytestmark = [
    pytest.mark.skipif(not (MODELS / "released").is_dir(), reason="no released bundle in agent/models/released"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def collector(broker: Mosquitto) -> Iterator[ReferenceSubscriber]:
    with ReferenceSubscriber(broker.port) as listening:
        yield listening


@pytest.fixture
def camera() -> Iterator[MjpegServer]:
    with mjpeg_server() as serving:
        yield serving


@pytest.fixture
def agent(tmp_path: Path, camera: MjpegServer, broker: Mosquitto) -> Iterator[Agent]:
    with Agent(tmp_path, camera.url, broker.port) as made:
        yield made


def states(collector: ReferenceSubscriber) -> list[str]:
    return [status["state"] for status in collector.payloads("status")]


def test_sigterm_in_a_window_flags_it(agent: Agent, collector: ReferenceSubscriber) -> None:
    """FAULTS 26: stopped in the middle of a window it publishes what it has, flagged, says goodbye, and exits 0 within
    the stop time-out."""
    agent.write(window_s=600)
    agent.start()
    agent.says("event=agent.state state=ready")
    time.sleep(2)
    began = time.monotonic()
    assert agent.end() == 0, agent.text()
    assert time.monotonic() - began < 20
    wait_until(lambda: states(collector)[-1:] == ["disconnected"], 60)
    (window,) = collector.stream().windows.values()
    assert window["partial"]
    assert 0 < window["end_ms"] - window["start_ms"] < 600_000


@pytest.mark.parametrize("words", ["event=mqtt.up", "event=agent.ready"])
def test_sigterm_while_it_starts(agent: Agent, words: str) -> None:
    """An end that is asked for before the first frame is no lost one."""
    agent.start()
    agent.says(words)
    assert agent.end() == 0, agent.text()


@pytest.mark.parametrize("stderr", ["closed", "full"])
def test_dead_stderr(agent: Agent, collector: ReferenceSubscriber, stderr: str) -> None:
    """FAULTS 29: with stderr closed or on a full disk the service works and publishes."""
    if stderr == "full":
        with Path("/dev/full").open("wb") as full:
            agent.start(stderr=full)
    else:
        agent.start("sh", "-c", 'exec "$@" 2>&-', "sh")
    agent.until(lambda: len(collector.stream().windows) >= 2)
    assert agent.end() == 0


def test_five_crashes_are_safe_mode(
    agent: Agent, camera: MjpegServer, collector: ReferenceSubscriber, tmp_path: Path
) -> None:
    """FAULTS 30: killed five times in a row, the sixth start leaves the camera alone and publishes why."""
    began = time.monotonic()
    for count in range(1, 6):
        agent.start()
        record = agent.state / "starts.json"
        agent.until(lambda n=count, r=record: r.exists() and r.read_text().count(".") >= n)
        agent.end(signal.SIGKILL)
    if time.monotonic() - began > 0.9 * SPAN_S:
        pytest.skip("this machine is too busy for five starts within ten minutes")
    connections = camera.connections
    agent.start()
    agent.until(lambda: any("safe mode" in (s["reason"] or "") for s in collector.payloads("status")))
    assert states(collector)[-1] == "degraded"
    assert agent.status()["state"] == "degraded"
    assert camera.connections == connections
    assert agent.end() == 0
    assert "event=agent.safe-mode" in agent.text()


def crash_loop(agent: Agent) -> None:
    """Leave the record of five crashes: the next start is a safe one."""
    agent.state.mkdir()
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    (agent.state / "starts.json").write_text(json.dumps([now - 5 + number for number in range(5)]))


def test_a_pause_in_safe_mode_holds(agent: Agent, camera: MjpegServer, collector: ReferenceSubscriber) -> None:
    """FAULTS 30: `cmd/pause` in safe mode is done, and the start after it leaves the camera closed; `resume` says what
    holds."""
    crash_loop(agent)
    agent.start()
    agent.until(lambda: any("safe mode" in (s["reason"] or "") for s in collector.payloads("status")))
    room = "fer/v1/test/room/fer"
    collector.publish(f"{room}/cmd/resume", b"", CorrelationData=b"1")
    agent.until(lambda: collector.payloads("rsp/resume"), 20)
    assert collector.payloads("rsp/resume")[-1]["result"] == {"sensing": "off", "reason": "safe mode"}
    collector.publish(f"{room}/cmd/pause", b'{"until": "noon"}', CorrelationData=b"2")
    agent.until(lambda: collector.payloads("rsp/pause"), 20)
    assert collector.payloads("rsp/pause")[-1]["result"] == {"sensing": "off"}
    assert agent.end() == 0
    (agent.state / "starts.json").unlink()
    agent.start()
    agent.until(lambda: states(collector)[-1] == "paused")
    assert camera.connections == 0
    assert agent.end() == 0


def test_a_mended_configuration_ends_safe_mode(agent: Agent, collector: ReferenceSubscriber) -> None:
    """FAULTS 30, 47: SIGHUP in safe mode with a wrong file changes nothing; with another good one the same process
    starts as usual."""
    crash_loop(agent)
    agent.start()
    agent.until(lambda: any("safe mode" in (s["reason"] or "") for s in collector.payloads("status")))
    good = agent.config.read_text()
    agent.config.write_text(good.replace("fps = 4", 'fps = "many"'))
    agent.process.send_signal(signal.SIGHUP)
    agent.says("event=config.kept-old", 20)
    assert states(collector)[-1] == "degraded"
    agent.write(window_s=3)
    agent.process.send_signal(signal.SIGHUP)
    agent.until(lambda: states(collector)[-1] == "ready")
    assert agent.text().count("event=agent.safe-mode") == 1
    assert agent.end() == 0


def test_camera_that_comes_later(tmp_path: Path, broker: Mosquitto, collector: ReferenceSubscriber) -> None:
    """FAULTS 31, 33: without its camera the service is ready for the service manager and degraded for the world, and
    goes on by itself when the camera is there."""
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(START_S)
        with Agent(tmp_path, f"http://127.0.0.1:{port}/stream.mjpg", broker.port) as agent:
            agent.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
            assert b"READY=1" in manager.recv(1000)
            agent.until(lambda: "degraded" in states(collector))
            assert collector.payloads("status")[-1]["reason"] == "camera.absent"
            agent.until(lambda: any(w["suppressed"] for w in collector.stream().windows.values()), 30)
            with mjpeg_server(port=port):
                agent.until(lambda: states(collector)[-1] == "ready", 60)
                assert "camera.back" in [e["reason"] for e in collector.payloads("event")]
            assert agent.end() == 0


def test_a_camera_within_its_time_outs_is_not_stuck(tmp_path: Path, broker: Mosquitto, camera: MjpegServer) -> None:
    """FAULTS 32: while a camera takes as long to open as it may, neither loop nor camera counts as stuck: the watchdog
    is fed."""
    camera.mode = "stall"
    with Agent(tmp_path, camera.url, broker.port) as agent:
        text = agent.config.read_text().replace("open_timeout_s = 3", "open_timeout_s = 120")
        agent.config.write_text(text.replace("read_timeout_s = 3", "read_timeout_s = 120"))
        agent.start()
        agent.until(lambda: agent.status().get("uptime_s", 0) > 35)
        assert agent.status()["stuck"] == []
        began = time.monotonic()
        assert agent.end() == 0
        assert time.monotonic() - began < 20


def test_a_stalled_stream_is_published(agent: Agent, camera: MjpegServer, collector: ReferenceSubscriber) -> None:
    """FAULTS 32: a stream that sends nothing more is `camera.stalled` on status and event within its time-out."""
    agent.start()
    agent.until(lambda: "ready" in states(collector))
    camera.mode = "stall"
    agent.until(lambda: collector.payloads("status")[-1]["reason"] == "camera.stalled", 25)
    assert "camera.lost" in [e["reason"] for e in collector.payloads("event")]
    agent.says("event=camera.lost detail=")
    assert agent.end() == 0


def test_it_ends_with_its_terminal(agent: Agent, camera: MjpegServer) -> None:
    """Started by hand over SSH, say: nobody would know that the camera is still watched."""
    if shutil.which("setsid") is None:
        pytest.skip("setsid is not installed (Debian package util-linux)")
    master, slave = os.openpty()
    agent.start("setsid", "--ctty", stdin=slave)
    os.close(slave)
    agent.says("event=agent.state state=ready")
    os.close(master)
    assert agent.process.wait(30) == 0


def test_a_wrong_configuration_is_exit_78(agent: Agent) -> None:
    """FAULTS 47: an unknown key ends a start with 78, file, line and "did you mean", and no traceback."""
    agent.write(more="[detect2]\n")
    agent.config.write_text(agent.config.read_text().replace("fps = 4", "fsp = 4"))
    agent.start()
    assert agent.process.wait(START_S) == 78
    assert f"{agent.config}:6: camera.fsp: " in agent.text()
    assert "did you mean" in agent.text()
    assert "Traceback" not in agent.text()


def test_reload_keeps_the_old_or_takes_the_new(agent: Agent, collector: ReferenceSubscriber) -> None:
    """FAULTS 47: SIGHUP with a wrong file is logged and changes nothing; with a good one the same process runs on with
    the new settings, and no window number is used twice."""
    agent.start()
    agent.until(lambda: len(collector.stream().windows) >= 2)
    good = agent.config.read_text()
    agent.config.write_text(good.replace("fps = 4", 'fps = "many"'))
    agent.process.send_signal(signal.SIGHUP)
    agent.says("event=config.kept-old")
    count = len(collector.stream().windows)
    agent.until(lambda: len(collector.stream().windows) > count)
    agent.write(window_s=3)
    agent.process.send_signal(signal.SIGHUP)
    while collector.payloads("meta")[-1]["window_s"] != 3:  # also in the middle of it
        agent.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
        assert agent.process.poll() is None, agent.text()
    count = len(collector.stream().windows)
    agent.until(lambda: len(collector.stream().windows) > count)
    assert agent.end() == 0
    assert collector.conflicts == []


Faketime = Callable[[Path], dict[str, str]]


@pytest.fixture
def faketime() -> Faketime:
    """The environment whose wall clock, and no other, is off by what a file says at any moment: "+0", "-2000d"."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), *Path("/usr/local/lib").glob("faketime/*.so.1")]
    if not found:
        pytest.skip("libfaketime is not installed (Debian package faketime)")
    set_to_1 = ("FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC")
    fixed = {"LD_PRELOAD": str(found[0])} | dict.fromkeys(set_to_1, "1")
    return lambda offset: fixed | {"FAKETIME_TIMESTAMP_FILE": str(offset)}


def test_clock_set_while_it_runs(
    agent: Agent, collector: ReferenceSubscriber, faketime: Faketime, tmp_path: Path
) -> None:
    """FAULTS 44, 45: booted years in the past, set right, then set back an hour: every change is an event, windows go
    on with rising numbers and their true length, and none is used twice."""
    offset = tmp_path / "offset"
    offset.write_text("-2000d")
    agent.start(**faketime(offset))
    for setting in ("+0", "-1h"):
        seen = len(collector.stream().windows)
        agent.until(lambda n=seen: len(collector.stream().windows) >= n + 2)
        offset.write_text(setting)
        count = len(collector.payloads("event"))
        agent.until(lambda n=count: "clock.step" in [e["reason"] for e in collector.payloads("event")[n:]], 60)
    seen = len(collector.stream().windows)
    agent.until(lambda: len(collector.stream().windows) >= seen + 2)
    windows = [collector.stream().windows[n] for n in sorted(collector.stream().windows)]
    assert windows[0]["start_ms"] < time.time() * 1000 - 1900 * 86_400_000
    assert abs(windows[-1]["start_ms"] - (time.time() - 3600) * 1000) < 600_000
    assert [w["seq"] for w in windows] == list(range(1, len(windows) + 1))
    assert all(w["end_ms"] - w["start_ms"] == 2000 for w in windows)
    assert all(isinstance(w["clock"]["synced"], bool) for w in windows)
    assert collector.conflicts == []
    assert agent.end() == 0


def test_a_calibration_that_ends_while_it_runs_is_told(
    agent: Agent, camera: MjpegServer, collector: ReferenceSubscriber, faketime: Faketime, tmp_path: Path
) -> None:
    """A service runs for months: that its calibration is past its 90 days is in the log once, without a restart."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    model = Bundle.load(MODELS / "released").card.sha256
    seen_by = record.camera_hash(config.Camera(source=camera.url))
    parts = made(50.0).parts.model_copy(update={"probabilities": None, "device": None})
    new = record.made(parts, model_sha256=model, camera=seen_by, setup="0" * 16, now=time.time())
    agent.state.mkdir()
    record.save(agent.state / record.NAME, new)
    agent.start(**faketime(offset))
    agent.until(lambda: len(collector.stream().windows) >= 2)
    assert "expired on" not in agent.text()
    offset.write_text("+91d")
    agent.says(f"{new.id}: expired on")
    seen = len(collector.stream().windows)
    agent.until(lambda: len(collector.stream().windows) >= seen + 2)
    assert agent.text().count("expired on") == 1
    assert agent.end() == 0


def test_status_of_the_running_service(agent: Agent, collector: ReferenceSubscriber) -> None:
    """`fer-agent status` gets state, backend, broker, rates and memory, and no result of a window."""
    agent.start()
    agent.until(lambda: len(collector.stream().windows) >= 1)
    found = agent.status()
    assert found["state"] == "ready"
    assert found["broker"]["connected"]
    assert found["backend"] in ("litert", "tflite-runtime")
    assert found["rss_mb"] > 10
    assert not {"engagement", "shares", "valence"} & set(str(found).replace("'", " ").split())
    mode = (agent.folder / "status.sock").stat().st_mode & 0o777
    assert mode == 0o660
    assert agent.end() == 0
    assert not (agent.folder / "status.sock").exists()


def test_a_cameras_login_is_nowhere(tmp_path: Path, broker: Mosquitto, collector: ReferenceSubscriber) -> None:
    """User, password and token in a camera's address show in no message, log line, state file or report."""
    secret = "planted-Zq7vX2kd"
    source = f"rtsp://viewer:{secret}@127.0.0.1:{free_port()}/live?token={secret}"
    with Agent(tmp_path, source, broker.port) as agent:
        agent.start()
        agent.until(lambda: "camera.lost" in [e["reason"] for e in collector.payloads("event")])
        agent.until(lambda: collector.stream().windows)
        assert agent.end() == 0
    for number, report in enumerate((["config", "show"], ["doctor", "--only", "vision", "--json"])):
        with (tmp_path / f"report-{number}").open("wb") as out:
            command = [sys.executable, "-m", "agent", *report, "--config", str(agent.config)]
            subprocess.run(command, stdout=out, stderr=out, cwd=ROOT, timeout=120, check=False)
    assert b"rtsp://127.0.0.1" in (tmp_path / "report-0").read_bytes()
    assert b"rtsp://127.0.0.1" in b"".join(body for _, body, _ in collector.log), "the address itself is told"
    told = [topic for topic, body, _ in collector.log if secret.encode() in body]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != agent.config]
    told += [str(path) for path in files if secret.encode() in path.read_bytes()]
    assert told == []


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a private /dev needs root")
@pytest.mark.parametrize(
    ("body", "backend"),
    [("abort();", "SIGABRT"), ("return works(nothing);", "+edgetpu"), ("return works(wrong);", "golden check")],
)
def test_edge_tpu_in_every_window(
    agent: Agent, collector: ReferenceSubscriber, tmp_path: Path, body: str, backend: str
) -> None:
    """FAULTS 43: an Edge TPU whose library aborts or computes wrong leaves the CPU and its reason in every window; one
    that works is used and named."""
    library, bundle = edge_tpu(tmp_path, body)
    agent.write()
    agent.config.write_text(agent.config.read_text().replace("threads = 1", f'threads = 1\nmodel = "{bundle}"'))
    private = (
        'mount -t tmpfs tmpfs "$1" && mkdir "$1/u" "$1/w" && mount -t overlay overlay '
        '-o "lowerdir=/dev,upperdir=$1/u,workdir=$1/w" /dev && touch /dev/apex_0 && shift && exec "$@"'
    )
    (tmp_path / "layer").mkdir()
    agent.start("unshare", "-m", "sh", "-c", private, "sh", str(tmp_path / "layer"), LD_LIBRARY_PATH=str(library))
    agent.until(lambda: len(collector.stream().windows) >= 2, 2 * START_S)
    assert agent.end() == 0, agent.text()
    named = {window["model"]["backend"] for window in collector.stream().windows.values()}
    assert len(named) == 1
    assert backend in named.pop()
    assert not Path("/dev/apex_0").exists()
