"""The locked versions: complete, allowed, installable on the Pythons of both Raspberry Pi OS releases, and audited."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.lock import LOCK, locked

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = 'exec env PYTHONPATH={fake} "{python}" "$@"'


def test_every_requirement_is_locked_at_a_version_that_it_allows() -> None:
    """What pyproject.toml asks for a device and a collector stands in the lock file, within its limits."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["collector"]])
    versions = locked()
    wrong = [str(r) for r in asked if versions.get(r.name.lower(), "0") not in r.specifier]
    assert wrong == []


def test_the_lock_names_no_address() -> None:
    """Names and versions alone: where packages come from is the device's own affair."""
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert len(lines) > 20


def test_without_an_advisory_service_the_audit_is_skipped() -> None:
    """No network: one line that says so, exit 0, so that a check never fails for a service that is away."""
    away = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "tests.lock", "--audit"]
    environ = {**os.environ, **away, "PIP_AUDIT_CACHE_DIR": "/nonexistent"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("pip-audit: skipped, ")
    assert len(done.stderr.splitlines()) == 1


def interpreter(version: str) -> str:
    """Return a Python of this version that can make environments, or skip."""
    found = [shutil.which(f"python{version}"), *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))]
    for python in filter(None, found):
        if subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"Python {version} with venv is not here")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("version", "picamera", "numpy"), [("3.11", False, "2."), ("3.11", True, "1."), ("3.13", False, "2.")]
)
def test_the_installer_makes_an_environment(tmp_path: Path, version: str, picamera: bool, numpy: str) -> None:
    """On bookworm's Python and trixie's the locked versions install and run; beside a Picamera2 built against numpy 1
    (bookworm's) numpy 1 is kept."""
    fake = tmp_path / "fake"
    fake.mkdir()
    if picamera:
        (fake / "picamera2.py").touch()
        (fake / "numpy.py").write_text('__version__ = "1.24.2"\n')
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n" + DEBIAN.format(fake=fake, python=interpreter(version)))
    python.chmod(0o755)
    environ = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    root = tmp_path / "root"
    command = [ROOT / "deploy/install.sh", "--root", root]
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr[-2000:]
    made = root / "opt/fer-agent/bin"
    asked = "import numpy, cv2, ai_edge_litert.interpreter; print(numpy.__version__)"
    assert subprocess.check_output([made / "python", "-c", asked], text=True, cwd=tmp_path).startswith(numpy)
    checked = [made / "python", "-m", "agent", "config", "check", root / "etc/fer-agent/agent.toml"]
    replayed = {**os.environ, "FER_AGENT__CAMERA__SOURCE": str(python)}  # a camera would want a policy, a video a file
    assert subprocess.run(checked, cwd=tmp_path, env=replayed).returncode == 0
