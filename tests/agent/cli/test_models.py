"""`fer-agent models`, as a program: the released bundle signed, installed, tried and rolled back for real."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.trust.audit import verify
from agent.vision.model_card import MODELS, SUMS, Bundle
from tests.agent.trust.signed_bundles import Signer, write_bundle

SIGNER = Signer()


class Device:
    """A folder with a configuration, and the program run against it."""

    def __init__(self, root: Path) -> None:
        self.root, self.state = root, root / "state"
        self.config = root / "agent.toml"
        self.config.write_text(f'[agent]\nstate_dir = "{self.state}"\n[updates]\nkeys = ["{SIGNER.public}"]\n')

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agent", "models", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def rows(self) -> list[tuple[str, str, bool]]:
        return [(r["name"], r["role"], r["active"]) for r in json.loads(self("list", "--json").stdout)]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """The released bundle with a signature."""
    released = MODELS / "released"
    if not (released / SUMS).is_file():
        pytest.skip(f"no released bundle in {released}")
    bundle = tmp_path / "bundle"
    shutil.copytree(released, bundle)
    (bundle / f"{SUMS}.minisig").write_text(SIGNER.sign((bundle / SUMS).read_bytes(), 2000))
    return bundle


def test_install_list_verify_rollback(device: Device, signed: Path) -> None:
    """The released network under a signature: installed as a trial, whole in this machine's runtime, rolled back."""
    assert device.rows() == [("released", "package", True)]
    installed = device("install", str(signed), "--json")
    assert installed.returncode == 0, installed.stderr
    assert json.loads(installed.stdout)["state"] == "trial"
    assert device.rows() == [("a", "trial", True), ("released", "package", False)]
    assert device("verify").returncode == 0
    assert device("verify", str(signed)).returncode == 0
    assert json.loads(device("rollback", "--json").stdout) == {"next": "released"}
    assert device.rows()[-1] == ("released", "package", True)
    assert verify(device.state).problems == ()


def test_the_configured_model_is_the_one_that_is_listed(device: Device) -> None:
    """With classify.model = "compact" the model to fall back on is that one, not "released"."""
    with device.config.open("a") as file:
        file.write('[classify]\nmodel = "compact"\n')
    (row,) = json.loads(device("list", "--json").stdout)
    assert row["id"] == Bundle.load(MODELS / "compact").card.id
    assert (row["name"], row["role"]) == ("compact", "package")
    assert device("verify").stdout.startswith("compact: whole")


def test_verify_names_what_must_not_be_used(device: Device, signed: Path) -> None:
    """One flipped byte in the installed network: `verify` ends with 1 and one line, `list` shows it as not active."""
    device("install", str(signed))
    model = device.state / "models" / "a" / "model.tflite"
    content = bytearray(model.read_bytes())
    content[1000] ^= 1
    model.write_bytes(content)
    found = device("verify")
    assert found.returncode == 1
    assert "SHA-256" in found.stderr
    assert "Traceback" not in found.stderr
    assert device.rows() == [("a", "trial", False), ("released", "package", True)]


def test_wrong_golden_outputs_are_not_installed(device: Device, signed: Path) -> None:
    """Right hashes and signature, but golden logits that this runtime does not give: exit 78."""
    import io

    import numpy as np

    from agent.vision.model_card import sums

    with np.load(signed / "golden.npz") as stored:
        golden = {name: stored[name] for name in stored.files}
    golden["default"] = (golden["default"] // 2 + 60).astype(np.int8)
    buffer = io.BytesIO()
    np.savez(buffer, **golden)
    (signed / "golden.npz").write_bytes(buffer.getvalue())
    names = [line.split("  ")[1] for line in (signed / SUMS).read_text().splitlines()]
    text = sums({name: (signed / name).read_bytes() for name in names})
    (signed / SUMS).write_text(text)
    (signed / f"{SUMS}.minisig").write_text(SIGNER.sign(text.encode(), 2000))
    refused = device("install", str(signed))
    assert refused.returncode == 78
    assert "golden check" in refused.stderr
    assert device.rows() == [("released", "package", True)]


@pytest.mark.parametrize("arguments", [("install", "nowhere"), ("verify", "nowhere"), ("rollback",)])
def test_mistakes_are_one_line(device: Device, arguments: tuple[str, ...]) -> None:
    """No such bundle, nothing to roll back: an exit code and a message, no traceback."""
    failed = device(*arguments)
    assert failed.returncode in (2, 78)
    assert failed.stdout == ""
    assert "Traceback" not in failed.stderr


def test_an_unsigned_bundle_is_refused(device: Device, tmp_path: Path) -> None:
    """Exit 78, one line that says "not signed", and an entry in the audit log."""
    refused = device("install", str(write_bundle(tmp_path / "unsigned", "x", None)))
    assert (refused.returncode, refused.stderr.count("\n")) == (78, 1)
    assert "not signed" in refused.stderr
    assert "model.refused" in (device.state / "audit.log").read_text()


def test_root_leaves_files_that_the_agent_can_change() -> None:
    """`sudo fer-agent models install` writes as the owner of the state folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # pytest's own folders are closed to other users
        Path(folder).chmod(0o755)
        device = Device(Path(folder))
        device.state.mkdir()
        os.chown(device.state, 65534, 65534)
        refused = device("install", str(write_bundle(Path(folder) / "unsigned", "x", None)))
        assert refused.returncode == 78, refused.stderr
        owners = {path.stat().st_uid for path in device.state.rglob("*")}
        assert owners == {65534}, "the refusal's audit entry belongs to the agent"
