"""`sudo fer-agent models install`: root opens what root alone may reach; the agent's user reads, checks and writes."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import ModelError
from agent.trust.signed_bundle import held, read_signed
from agent.vision.model_card import MODELS, SUMS
from tests.agent.cli.test_models import SIGNER, Device
from tests.agent.trust.signed_bundles import write_bundle

NOBODY = 65534
PROGRAM = """
import encodings.ascii, encodings.cp437, numpy.lib.format
import ai_edge_litert.interpreter
from agent.cli import main
main()
"""
"""The program, with all of Python's own that it loads late: an interpreter below /root is closed to others."""


class Rooted(Device):
    """A device on which root calls."""

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, "models", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def device() -> Iterator[Device]:
    """A device whose state folder is another user's; skips for anybody but root."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # pytest's own folders are closed to other users
        Path(folder).chmod(0o755)
        made = Rooted(Path(folder))
        made.state.mkdir()
        os.chown(made.state, NOBODY, NOBODY)
        yield made


@pytest.fixture
def home(device: Device) -> Path:
    """A home folder, as Debian makes it: its owner's alone."""
    folder = device.root / "home"
    folder.mkdir(mode=0o700)
    return folder


def test_a_bundle_in_a_home_folder_is_installed(device: Device, home: Path) -> None:
    """A folder that only root and its owner may enter: the bundle is verified and installed, as the agent's own files;
    its bytes were open before root's rights went."""
    bundle = home / "bundle"
    shutil.copytree(MODELS / "released", bundle)
    (bundle / f"{SUMS}.minisig").write_text(SIGNER.sign((bundle / SUMS).read_bytes(), 2000))
    for path in (bundle, *bundle.iterdir()):
        path.chmod(0o700)
    for command in ("verify", "install"):
        done = device(command, str(bundle))
        assert done.returncode == 0, done.stderr
    assert {path.stat().st_uid for path in device.state.rglob("*")} == {NOBODY}
    assert device.rows()[0] == ("a", "trial", True)


def test_a_link_leads_root_nowhere(device: Device, home: Path) -> None:
    """A bundle whose file is a link to what root alone may read is refused, and audited; nothing of it is shown."""
    secret = home / "secret"
    secret.write_text("planted-secret")
    bundle = write_bundle(device.root / "bundle", "x", SIGNER)
    for name in (f"{SUMS}.minisig", SUMS, "card.json"):
        (bundle / name).rename(device.root / "kept")
        (bundle / name).symlink_to(secret)
        refused = device("install", str(bundle))
        assert (refused.returncode, refused.stderr.count("\n")) == (78, 1), refused.stderr
        assert f"{name}: expected a file, got a link" in refused.stderr
        (device.root / "kept").replace(bundle / name)
    audit = (device.state / "audit.log").read_text()
    assert audit.count("got a link") == 3
    assert "planted-secret" not in audit


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe in the place of a file is refused at once, whoever asks."""
    bundle = write_bundle(tmp_path / "bundle", "x", SIGNER)
    (bundle / "card.json").unlink()
    os.mkfifo(bundle / "card.json")
    with held(bundle) as read, pytest.raises(ModelError, match="expected a file, got a pipe"):
        read_signed(read, (SIGNER.public,), "x")


def test_what_was_opened_is_what_is_read(tmp_path: Path) -> None:
    """Files that are put into the place of those that were opened do not count."""
    bundle = write_bundle(tmp_path / "bundle", "x", SIGNER)
    model = (bundle / "model.tflite").read_bytes()
    with held(bundle) as read:
        (bundle / "model.tflite").unlink()
        (bundle / "model.tflite").write_bytes(b"another")
        assert read_signed(read, (SIGNER.public,), "x").files["model.tflite"] == model
