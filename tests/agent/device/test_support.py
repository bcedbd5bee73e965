"""The support bundle holds what helps and no secret."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from agent.config.file import load
from agent.device.support import redact, write
from agent.errors import CannotWriteError, UnavailableError
from tests.mounts import fill, mounted


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:hunter2@10.0.0.5/stream",
        "rtsp://admin:p@hunter2@10.0.0.5/stream",
        'password = "hunter2"',
        "event=x token=hunter2 y=1",
        "FER_MQTT_PASSWORD=hunter2",
        "passphrase: hunter2",
        "Authorization: hunter2",
        "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter2",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    """Passwords in addresses and pairs, tokens and keys do not survive."""
    assert "hunter2" not in redact(text)


def test_ordinary_lines_stay() -> None:
    """What is no secret is left as it is."""
    line = "event=camera.lost source=/dev/video0 passed=3 password_file_mode=0600"
    assert redact(line) == line


def test_bundle_has_no_secret_and_no_window(tmp_path: Path) -> None:
    """Nothing of a password, a camera's login, an account, a person or a state file's content is in the archive."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "spool.bin").write_text("WINDOW-CONTENT")
    (tmp_path / "pw").write_text("hunter2")
    (tmp_path / "pw").chmod(0o600)
    config = tmp_path / "agent.toml"
    config.write_text(
        f'[agent]\nstate_dir = "{state}"\n[camera]\nsource = "rtsp://me:hunter2@cam/1"\n'
        '[mqtt]\nusername = "acc0unt"\npassword_file = "pw"\n[policy]\ncontroller = "Ms Smith"\n'
    )

    def no_agent() -> dict[str, object]:
        raise UnavailableError("user='acc0unt': no agent")

    names = write(tmp_path / "b.tar.gz", load(config, environ={}), no_agent)
    assert {"config.json", "doctor.json", "status.json", "journal.txt"} <= set(names)
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o077 == 0
    with tarfile.open(tmp_path / "b.tar.gz") as archive:
        text = "".join(archive.extractfile(m).read().decode() for m in archive.getmembers())  # type: ignore[union-attr]
    for secret in ("hunter2", "WINDOW-CONTENT", "acc0unt", "Ms Smith"):
        assert secret not in text
    assert "spool.bin" in text
    assert "camera.fps" in text
    assert "not available: user='«hidden»': no agent" in text


def test_never_over_an_existing_file(tmp_path: Path) -> None:
    """An existing file, or a link that waits there, is never written over."""
    (tmp_path / "b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotWriteError):
        write(tmp_path / "b", load(None, environ={}), dict)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_nothing_in_the_next_ones_way(tmp_path: Path) -> None:
    """No half archive stays behind on a full disk; with room again the same name works."""
    with mounted("tmpfs", tmp_path / "small", "size=64k") as disk:
        fill(disk)
        with pytest.raises(CannotWriteError, match="No space left"):
            write(disk / "b", load(None, environ={}), dict)
        assert not (disk / "b").exists()
        (disk / "other").unlink()
        assert write(disk / "b", load(None, environ={}), dict)


def test_as_a_program(tmp_path: Path) -> None:
    """`fer-agent support-bundle TARGET` writes it and exits 0, also where no agent runs."""
    command = [sys.executable, "-m", "agent", "support-bundle", str(tmp_path / "b.tar.gz")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert tarfile.is_tarfile(tmp_path / "b.tar.gz")
