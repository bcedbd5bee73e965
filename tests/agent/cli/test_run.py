"""`fer-agent run`, started by hand."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.vision.model_card import MODELS

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
        (folder / "agent.toml").write_text(
            f'[agent]\nstate_dir = "{state}"\n[camera]\nsource = "none.mp4"\n[classify]\nmodel = "compact"\n'
            f'[privacy]\npause_file = "{state}/pause"\n'
        )
        command = [sys.executable, "-m", "tests.agent.cli.imported", "run", "--config", f"{folder}/agent.toml"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert done.returncode == 66, done.stderr
        found = {path.name: path.stat().st_uid for path in state.rglob("*")}
    assert {"audit.log", "spool"} <= set(found)
    assert set(found.values()) == {65534}
