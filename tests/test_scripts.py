"""What the scripts do where something went wrong before."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_an_environment_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    """Ctrl-C in the first `scripts/demo` leaves a Python without pip: the next call makes the environment again."""
    for file in ("scripts/env.sh", "deploy/data-wheels.txt", "pyproject.toml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    environ = os.environ | {"PIP_NO_INDEX": "1", "FER_PYTHON": sys.executable}  # what comes after pip is not asked here
    install = "source scripts/env.sh; install_extras demo"
    done = subprocess.run(["bash", "-c", install], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert "Making the environment" in done.stderr
    assert subprocess.run([tmp_path / ".venv/bin/python", "-m", "pip", "--version"]).returncode == 0


def test_a_python_is_found_without_a_home() -> None:
    """As in a container or a unit, where HOME is not set."""
    environ = {key: value for key, value in os.environ.items() if key not in ("HOME", "PYENV_ROOT")}
    find = "source scripts/env.sh; find_python"
    done = subprocess.run(
        ["bash", "-c", find], cwd=ROOT, env=environ | {"FER_PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{sys.executable}\n", "")
