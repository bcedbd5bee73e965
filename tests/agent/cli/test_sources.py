"""A stream is a camera for `replay` and `demo`, whatever its address ends in."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from agent.cli import cli, demo, replay
from agent.errors import PolicyError, UsageError
from tests.cameras import mjpeg_server, picture
from tests.users import as_nobody


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m agent …`, which must end well."""
    command = [sys.executable, "-m", "agent", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


STREAMS = ("http://127.0.0.1:1/live.mp4", "https://127.0.0.1:1/stream.ts?x=1", "rtsp://127.0.0.1:1/live")


@pytest.mark.parametrize("source", STREAMS)
def test_a_stream_is_not_replayed(source: str) -> None:
    """`replay` is for files alone."""
    got = CliRunner().invoke(replay.command, [source, "--k-min", "2"])
    assert isinstance(got.exception, UsageError), got.output
    assert "expected a video file" in str(got.exception)


@pytest.mark.parametrize("source", STREAMS)
def test_a_stream_shows_no_fewer_people_than_a_camera(source: str) -> None:
    """`demo --k-min 2` on a stream is refused before anything is opened."""
    got = CliRunner().invoke(demo.command, [source, "--k-min", "2"])
    assert isinstance(got.exception, PolicyError), got.output


@pytest.mark.parametrize(
    "command", [["replay"], ["demo"], ["calibrate", "--yes", "--from"]], ids=lambda words: words[0]
)
def test_a_folder_is_no_camera(command: list[str], tmp_path: Path) -> None:
    """Neither the law nor a policy is asked for where there is nothing to watch."""
    got = CliRunner().invoke(cli, [*command, str(tmp_path)])
    assert (got.exit_code, got.output) == (66, f"error: expected a video file, got the folder {str(tmp_path)!r}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    "command", [["replay"], ["demo"], ["calibrate", "--yes", "--from"]], ids=lambda words: words[0]
)
def test_a_film_in_a_closed_folder_is_no_input(command: list[str], tmp_path: Path) -> None:
    """66 like every file that cannot be read; nobody speaks of a service that has nothing to do with it."""
    (tmp_path / "v.avi").touch()
    tmp_path.chmod(0o700)
    with as_nobody():
        got = CliRunner().invoke(cli, [*command, f"{tmp_path}/v.avi"])
    says = f"error: expected a video file, got '{tmp_path}/v.avi': Permission denied\n"
    assert (got.exit_code, got.output) == (66, says)


def test_a_camera_that_stalls_is_told_of_and_not_the_people() -> None:
    """`demo` of a stream that falls silent: the line says so, and no advice for films."""
    with mjpeg_server() as server:

        def stall() -> None:
            while not server.connections:
                time.sleep(0.1)
            time.sleep(3)
            server.mode = "stall"

        threading.Thread(target=stall, daemon=True).start()
        line = ["demo", server.url, "--seconds", "20", "--fps", "1", "--model", "compact", "--smallest-face", "60"]
        done = play(*line)
    assert "camera.lost" in done.stderr
    assert "withheld for k_min" in done.stderr
    assert "--k-min 2" not in done.stderr


def test_seconds_end_a_film_between_its_frames(tmp_path: Path) -> None:
    """A film whose next frame is a minute away ends after the --seconds that were asked for."""
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 1 / 60, (160, 120))
    for number in range(3):
        writer.write(picture(number))
    writer.release()
    began = time.monotonic()
    line = ["replay", str(tmp_path / "v.avi"), "--realtime", "--seconds", "2", "--model", "compact"]
    play(*line)
    assert time.monotonic() - began < 50


def test_why_a_broker_was_left_out_is_said(demo_clip: Path) -> None:
    """A port that speaks something else is no missing broker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: [server.accept()[0].close() for _ in range(50)], daemon=True).start()
        line = ["replay", str(demo_clip), "--model", "compact", "--smallest-face", "60", "--broker"]
        line.append(f"127.0.0.1:{server.getsockname()[1]}")
        done = play(*line)
    assert re.search("warning: .*; going on without a broker", done.stderr)
    assert "no broker at" not in done.stderr
