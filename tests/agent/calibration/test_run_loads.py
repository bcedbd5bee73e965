"""`fer-agent run` with a calibration.json: used, used with a warning, or refused."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import config
from agent.calibration import record
from agent.trust.audit import AuditLog
from agent.vision.model_card import MODELS, Bundle
from tests.agent.calibration.test_record import DAY, made
from tests.mqtt_world import Mosquitto
from tests.reference_subscriber import ReferenceSubscriber

ROOT = Path(__file__).resolve().parents[3]
MODEL = Path(os.environ.get("FER_BUNDLE", MODELS / "released"))
pytestmark = pytest.mark.skipif(not MODEL.is_dir(), reason="no released model")


def _agent(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=200
    )


@pytest.fixture
def room(tmp_path: Path, demo_clip: Path) -> Path:
    """An agent.toml that plays the demo's clip; its broker is never there, so windows stay in the spool."""
    (tmp_path / "agent.toml").write_text(f"""
[agent]
state_dir = "{tmp_path}"
[camera]
source = "{demo_clip}"
[detect]
smallest_face_px = 48
[classify]
model = "{MODEL}"
[engagement]
window_s = 10
[privacy]
pause_file = "{tmp_path / "pause"}"
[mqtt]
port = 1
""")
    return tmp_path / "agent.toml"


def _calibrated(room: Path, source: str, *, age_days: float = 1, model: str | None = None) -> record.Record:
    """Write a calibration of this age for `source` and `model` beside `room`; its baseline is 50 points."""
    new = record.made(
        made(50.0).parts.model_copy(update={"probabilities": None, "device": None}),
        model_sha256=model or Bundle.load(MODEL).card.sha256,
        camera=record.camera_hash(config.Camera(source=source)),
        setup=record.setup_hash(config.Settings()),
        now=time.time() - age_days * DAY,
    )
    record.save(room.with_name(record.NAME), new)
    return new


def _windows(room: Path) -> list[dict]:
    return [json.loads(line) for line in _agent("spool", "export", "--config", room).stdout.splitlines()]


def _delta(window: dict) -> float | None:
    """Return a window's delta; skips where the machine was too slow to look at enough frames of a film in real time."""
    if window["suppressed"] is not None and window["frames"] < 8:
        pytest.skip(f"too busy a machine: {window['frames']} of 10 frames were looked at")
    return window["engagement"]["delta"]


@pytest.mark.parametrize(("age_days", "warned"), [(1, False), (91, True)])
def test_a_fitting_one_is_used_and_warns_when_it_has_expired(
    room: Path, demo_clip: Path, age_days: float, warned: bool
) -> None:
    """Its id travels in every window and delta is the distance from its baseline; after 90 days the log warns."""
    new = _calibrated(room, str(demo_clip), age_days=age_days)
    done = _agent("run", "--config", room)
    assert done.returncode == 0, done.stderr
    window = _windows(room)[0]
    assert window["calibration_id"] == new.id
    assert ("expired on" in done.stderr) == warned
    assert _delta(window) == window["engagement"]["value"] - 50


def test_what_calibrate_tunes_is_no_other_configuration(room: Path, demo_clip: Path) -> None:
    """The configuration's hash in `meta` is the one in the audit log, whatever the device's part changed."""
    new = record.made(
        made(50.0).parts.model_copy(update={"probabilities": None}),
        model_sha256=Bundle.load(MODEL).card.sha256,
        camera=record.camera_hash(config.Camera(source=str(demo_clip))),
        setup=record.setup_hash(config.Settings()),
        now=time.time() - DAY,
    )
    record.save(room.with_name(record.NAME), new)
    with Mosquitto(room.parent / "broker") as broker, ReferenceSubscriber(broker.port) as collector:
        room.write_text(room.read_text().replace("port = 1\n", f"port = {broker.port}\n"))
        done = _agent("run", "--config", room)
        assert done.returncode == 0, done.stderr
        audited = AuditLog(room.parent).last("config")
        assert collector.payloads("meta")[-1]["config_hash"] == audited["hash"]


def test_one_of_another_camera_is_refused(room: Path) -> None:
    """A calibration of another camera ends `run` with 78 and one line; not one window is made."""
    _calibrated(room, "/dev/video7")
    done = _agent("run", "--config", room)
    assert done.returncode == 78
    assert "made for another camera" in done.stderr.strip().splitlines()[-1]
    assert _windows(room) == []


def test_a_model_runs_without_the_calibration_of_another(room: Path, demo_clip: Path) -> None:
    """The package's own model runs uncalibrated beside a calibration of another one, and the log says so: an upgrade,
    or the fall back from an installed model, must not end the service for good."""
    _calibrated(room, str(demo_clip), model="b" * 64)
    done = _agent("run", "--config", room)
    assert done.returncode == 0, done.stderr
    assert "event=calibration.refused" in done.stderr
    assert "made for the model bbbbbbbbbbbb" in done.stderr
    assert _windows(room)[0]["calibration_id"] is None


def test_one_that_is_cut_in_half_is_refused(room: Path, demo_clip: Path) -> None:
    """A calibration cut in half ends `run` with 78 and one line that says so."""
    _calibrated(room, str(demo_clip))
    path = room.with_name(record.NAME)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = _agent("run", "--config", room)
    assert done.returncode == 78
    assert "cut off or damaged" in done.stderr.strip().splitlines()[-1]


def test_without_one_the_agent_runs(room: Path) -> None:
    """No calibration is no error: windows come without its id and without delta."""
    assert _agent("run", "--config", room).returncode == 0
    window = _windows(room)[0]
    assert window["calibration_id"] is None
    assert _delta(window) is None
