"""`fer-agent run` that runs into an error that nobody foresaw: one line, exit 70, and the start counts as a bad one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.vision.model_card import MODELS
from tests.mqtt_world import free_port

pytestmark = pytest.mark.skipif(not (MODELS / "compact").is_dir(), reason="no compact model")
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
import cv2
import numpy as np
from agent.cli import main

class Broken:
    grabbed = 0
    def __init__(self, *_): pass
    def isOpened(self): return True
    def get(self, _): return 1000.0 * self.grabbed
    def set(self, *_): return True
    def retrieve(self): return True, np.zeros((480, 640, 3), np.uint8)
    def release(self): pass
    def grab(self):
        self.grabbed += 1
        if self.grabbed > 2: raise ZeroDivisionError("two\\nlines")
        return True

cv2.VideoCapture = Broken
main()
"""
"""The program, with a video decoder that has a flaw: its third frame raises."""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the service in `folder` until it ends."""
    (folder / "video.mp4").touch()
    (folder / "agent.toml").write_text(
        f'[agent]\nstate_dir = "{folder}/state"\n[camera]\nsource = "{folder}/video.mp4"\n[classify]\n'
        f'model = "compact"\n[privacy]\npause_file = "{folder}/pause"\n[mqtt]\nport = {free_port()}\n'
    )
    command = [sys.executable, "-c", PROGRAM, "run", "--config", f"{folder}/agent.toml", *options]
    environ = {key: value for key, value in os.environ.items() if key not in ("JOURNAL_STREAM", "INVOCATION_ID")}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, timeout=120)


def test_an_unforeseen_error_is_one_line_and_a_bad_start(tmp_path: Path) -> None:
    """Exit 70 with what it was, no traceback; the start stays on record, or a loop of crashes would never end in safe
    mode."""
    done = run(tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 70, done.stderr
    assert "event=agent.ready" in done.stderr
    assert lines[-1].endswith(r" critical event=crash error=ZeroDivisionError reason='two\nlines'")
    assert "Traceback" not in done.stderr
    assert len(json.loads((tmp_path / "state" / "starts.json").read_text())) == 1


def test_the_log_as_json(tmp_path: Path) -> None:
    """`--log-format json`: every line of ours is an object with its event, that of the crash, too."""
    told = run(tmp_path, "--log-format", "json").stderr.splitlines()
    lines = [json.loads(line) for line in told if not line.startswith("INFO: ")]  # LiteRT's own, past every logger
    assert {"agent.ready", "mqtt.down"} <= {line["event"] for line in lines}
    assert (lines[-1]["level"], lines[-1]["event"], lines[-1]["error"]) == ("critical", "crash", "ZeroDivisionError")
