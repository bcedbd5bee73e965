"""`fer-agent spool`: what waits can be seen, exported and dropped, and what is dropped is declared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.spool import command
from agent.delivery.disk import DiskSpool
from agent.delivery.publish import Publisher
from agent.errors import InputError
from tests.mounts import fill, mounted
from tests.mqtt_world import FAST, MADE_BY, settings, summary

ROOT = Path(__file__).resolve().parents[3]


def spool(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", "spool", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Ten windows that wait, three that a collector has."""
    with Publisher(settings(1), MADE_BY, pace=FAST, state_dir=tmp_path / "state") as publisher:
        for number in range(13):
            publisher(summary(number))
        publisher._spool.ack(publisher._spool.epoch, 3)
    return tmp_path / "state"


def test_ls_counts_what_waits(state: Path) -> None:
    """As JSON: how many, up to which number a collector has them, no gap."""
    done = spool("ls", "--json", "--state-dir", state)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["waiting"], told["acked_seq"], told["newest_seq"], told["gaps"]) == (10, 3, 13, [])
    assert told["damaged_files"] == 0


def test_ls_works_while_the_agent_runs(state: Path) -> None:
    """It takes no lock and changes nothing."""
    running = DiskSpool(state / "spool", 1 << 20, 1e9)
    before = {p.name: p.read_bytes() for p in (state / "spool").iterdir()}
    assert "10 windows wait" in spool("ls", "--state-dir", state).stdout
    assert {p.name: p.read_bytes() for p in (state / "spool").iterdir()} == before
    running.close()


def test_export_writes_payloads_and_takes_nothing_out(state: Path, tmp_path: Path) -> None:
    """One payload a line, oldest first; never over an existing file."""
    file = tmp_path / "windows.jsonl"
    assert spool("export", file, "--state-dir", state).returncode == 0
    assert [json.loads(line)["seq"] for line in file.read_text().splitlines()] == list(range(4, 14))
    again = spool("export", file, "--state-dir", state)
    assert again.returncode == 73
    assert "File exists" in again.stderr
    assert len(spool("export", "--all", "--state-dir", state).stdout.splitlines()) == 13


def test_export_without_room_leaves_no_half_file(state: Path, tmp_path: Path) -> None:
    """Exit code 73 and one line, on a full disk and a full stdout; the file would look like all of them."""
    with mounted("tmpfs", tmp_path / "small", "size=64k") as disk:
        fill(disk)
        done = spool("export", disk / "windows.jsonl", "--state-dir", state)
        assert (done.returncode, done.stderr.count("\n")) == (73, 1)
        assert "No space left" in done.stderr
        assert not (disk / "windows.jsonl").exists()
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "agent", "spool", "export", "--state-dir", str(state)]
        end = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert end.returncode == 73
    assert end.stderr.startswith("error: stdout: ")


def test_drop_asks_first(state: Path) -> None:
    """Without --yes nothing happens, and it says what would be lost."""
    done = spool("drop", "--state-dir", state)
    assert done.returncode == 2
    assert "would lose 10 windows" in done.stderr
    assert json.loads(spool("ls", "--json", "--state-dir", state).stdout)["waiting"] == 10


def test_drop_declares_what_is_lost(state: Path) -> None:
    """The collector will hear of it, and no number is used again."""
    assert "4 to 13 declared lost" in spool("drop", "--yes", "--state-dir", state).stdout
    told = json.loads(spool("ls", "--json", "--state-dir", state).stdout)
    assert (told["waiting"], told["gaps"]) == (0, [{"from": 4, "to": 13, "reason": "dropped"}])
    after = DiskSpool(state / "spool", 1 << 20, 1e9)
    assert after.read(after.add(lambda _epoch, seq: b"%d" % seq)).seq == 14
    after.close()


def test_after_drop_without_a_collector_ls_knows_the_newest(tmp_path: Path) -> None:
    """A broker took them all, so nothing is declared lost; no number is used again, and ls says so."""
    before = DiskSpool(tmp_path / "spool", 1 << 20, 1e9)
    for _ in range(5):
        before.confirm(before.add(lambda _epoch, _seq: b'{"start_ms":0,"end_ms":1}'))
    before.close()
    assert spool("drop", "--yes", "--state-dir", tmp_path).returncode == 0
    assert json.loads(spool("ls", "--json", "--state-dir", tmp_path).stdout)["newest_seq"] == 5


def test_drop_warns_once(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that sets nothing is told of once, as the configuration is read once."""
    monkeypatch.setenv("FER_AGENT_CAMERA_FPS", "2")
    assert spool("drop", "--yes", "--state-dir", state).stderr.count("is not used") == 1


def test_drop_is_refused_while_the_agent_runs(state: Path) -> None:
    """Two processes would write one spool: exit 75, for it may be done later, and what to stop."""
    running = DiskSpool(state / "spool", 1 << 20, 1e9)
    done = spool("drop", "--yes", "--state-dir", state)
    assert done.returncode == 75
    assert "another fer-agent uses this spool; stop it (systemctl stop fer-agent)" in done.stderr
    running.close()


def test_a_relative_state_folder_is_one_of_the_shell(state: Path) -> None:
    """--state-dir, unlike agent.state_dir, is meant from where the person stands."""
    done = spool("ls", "--json", "--state-dir", os.path.relpath(state, ROOT))
    assert json.loads(done.stdout)["waiting"] == 10, done.stderr


def test_no_spool_is_an_input_error(tmp_path: Path) -> None:
    """Exit 66 and what to give; nothing is made there."""
    done = spool("ls", "--state-dir", tmp_path)
    assert done.returncode == 66
    assert "--state-dir" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_as_state_folder_is_an_input_error(tmp_path: Path) -> None:
    """`spool ls` where the state folder is a file: exit 66, one line."""
    (tmp_path / "state").write_text("")
    with pytest.raises(InputError, match="expected a spool, got: Not a directory"):
        command.main(["ls", "--state-dir", str(tmp_path / "state")], standalone_mode=False)
