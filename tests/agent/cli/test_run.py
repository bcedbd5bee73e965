"""`fer-agent run`, started by hand."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.delivery.disk import DiskSpool
from agent.vision.model_card import MODELS
from tests.cameras import film

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(not (MODELS / "compact").is_dir(), reason="no compact model")
def test_root_runs_as_the_owner_of_the_state_folder() -> None:
    """`sudo fer-agent run` on an installed device leaves nothing that the service could not change afterwards."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)  # pytest's own folders are closed to other users
        folder.chmod(0o755)
        state = folder / "state"
        state.mkdir()
        os.chown(state, 65534, 65534)
        film(folder / "short.avi", 1)
        (folder / "agent.toml").write_text(
            f'[agent]\nstate_dir = "{state}"\n[camera]\nsource = "{folder}/short.avi"\n[classify]\nmodel = "compact"\n'
            f'[privacy]\npause_file = "{state}/pause"\n'
        )
        command = [sys.executable, "-m", "tests.agent.cli.imported", "run", "--config", f"{folder}/agent.toml"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert done.returncode == 0, done.stderr
        found = {path.name: path.stat().st_uid for path in state.rglob("*")}
    assert {"audit.log", "spool"} <= set(found)
    assert set(found.values()) == {65534}


def command_of(folder: Path, source: str) -> list[str]:
    """What starts the service by hand, with its state in `folder`."""
    (folder / "agent.toml").write_text(
        f'[agent]\nstate_dir = "{folder}"\n[camera]\nsource = "{source}"\n[classify]\nmodel = "compact"\n'
        f'[privacy]\npause_file = "{folder}/pause"\n'
    )
    return [sys.executable, "-m", "agent", "run", "--config", f"{folder}/agent.toml"]


def run(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Start the service by hand until it ends."""
    return subprocess.run(command_of(folder, source), capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.mark.skipif(not (MODELS / "compact").is_dir(), reason="no compact model")
def test_the_end_of_a_film_is_the_last_line(tmp_path: Path) -> None:
    """Whoever reads the journal sees that it ended, and why; no line has a reason that is none."""
    done = run(tmp_path, film(tmp_path / "lesson.avi", 2))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("event=agent.stopped reason='end of lesson.avi'")
    assert "event=agent.state state=ready\n" in done.stderr
    assert "reason=None" not in done.stderr


def test_a_variable_that_sets_nothing_is_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service says so in its journal: nobody sees its environment."""
    monkeypatch.setenv("FER_AGENT_CAMERA_FPS", "3")
    done = run(tmp_path, "usb0")
    says = "FER_AGENT_CAMERA_FPS is not used; did you mean FER_AGENT__CAMERA__FPS?"
    assert f"warning event=config.unused detail='{says}'" in done.stderr


@pytest.mark.skipif(not (MODELS / "compact").is_dir(), reason="no compact model")
def test_a_signal_is_the_last_line(tmp_path: Path) -> None:
    """A stop by SIGTERM is told, when all is closed."""
    command = command_of(tmp_path, film(tmp_path / "lesson.avi", 300))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        lines = []
        for line in process.stderr:
            lines.append(line.rstrip())
            if "event=agent.ready" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, lines
    assert lines[-1].endswith("event=agent.stopped reason=signal")


def test_a_camera_with_a_typo_ends_it_for_good(tmp_path: Path) -> None:
    """Exit 78, which the service manager does not restart; no crash is on record."""
    done = run(tmp_path, "usb0")
    assert done.returncode == 78, done.stderr
    assert "camera.source: expected a video file, camera index or URL, got 'usb0'" in done.stderr
    assert not (tmp_path / "starts.json").exists()


def test_a_film_that_cannot_be_played_ends_it_for_good(tmp_path: Path) -> None:
    """Half a copy is a configuration to mend, and no loop of starts; `config check` says it beforehand."""
    whole = Path(film(tmp_path / "lesson.mp4", 20, "mp4v")).read_bytes()
    (tmp_path / "lesson.mp4").write_bytes(whole[: len(whole) // 2])
    done = run(tmp_path, f"{tmp_path}/lesson.mp4")
    check = [sys.executable, "-m", "agent", "config", "check", f"{tmp_path}/agent.toml"]
    checked = subprocess.run(check, capture_output=True, text=True, cwd=ROOT)
    says = f"camera.source: expected a video, got '{tmp_path}/lesson.mp4': it cannot be opened as one; its index (moov)"
    assert (done.returncode, checked.returncode) == (78, 78), done.stderr
    assert says in done.stderr
    assert checked.stdout.startswith(f"{tmp_path}/agent.toml:4: {says}")


@pytest.mark.skipif(not (MODELS / "compact").is_dir(), reason="no compact model")
def test_a_spool_in_use_does_not_end_it_for_good(tmp_path: Path) -> None:
    """Another process may have it for a moment: exit 75, and the service manager tries again; it is no crash."""
    other = DiskSpool(tmp_path / "spool", 1 << 20, 1e9)
    done = run(tmp_path, film(tmp_path / "lesson.avi", 2))
    other.close()
    assert done.returncode == 75, done.stderr
    assert "another fer-agent uses this spool" in done.stderr
    assert not (tmp_path / "starts.json").exists()
