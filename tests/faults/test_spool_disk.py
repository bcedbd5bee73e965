"""Disks that fail for real: power cut, full, read-only, EIO (faults 20, 23, 24, 25); and what is synced when."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.delivery.disk import DiskSpool
from agent.delivery.publish import Publisher
from agent.delivery.shared import SharedSpool
from tests.delivery_agent import Nursery
from tests.mounts import ext4_image, fill, mounted, remount
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, summary, wait_until
from tests.reference_subscriber import ReferenceSubscriber

ROOT = Path(__file__).resolve().parents[2]


def test_a_power_cut_costs_the_open_window_at_most(broker: Mosquitto, tmp_path: Path) -> None:
    """The image of an ext4 is copied five times while an agent writes to it; mounted elsewhere, each copy starts with
    all windows that had closed before the copy, and declares what it must."""
    image, notes = ext4_image(tmp_path / "disk.img"), tmp_path / "closed"
    with mounted(image, tmp_path / "disk", "loop") as disk, Nursery() as nursery:
        pid = nursery.start(broker.port, disk / "state", notes, 0.005)
        wait_until(lambda: notes.is_file() and notes.read_text().count("\n") > 20, 30)
        for number in range(5):
            time.sleep(0.1)
            closed = {int(line) for line in notes.read_text().split("\n")[:-1]}
            copy = tmp_path / f"copy{number}.img"
            shutil.copyfile(image, copy)
            _survives(copy, tmp_path / f"copy{number}", closed)
        nursery.end(pid, signal.SIGTERM)


def _survives(image: Path, where: Path, closed: set[int]) -> None:
    with mounted(image, where, "loop") as disk:
        spool = DiskSpool(disk / "state" / "spool", 8 << 20, 1e9)
        told = spool.find(1, spool.newest_seq)
        assert set(told) == set(range(1, spool.newest_seq + 1)), "an undeclared loss"
        windows = {seq for seq, position in told.items() if spool.read(position).kind == "window"}
        assert closed <= windows, "a window that had closed was lost"
        spool.close()


def test_a_full_disk_stops_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    """A tmpfs of 1 MB is filled by others while the agent runs: live windows go on, the oldest are dropped with a
    declared gap, or memory takes over and the status says so."""
    with (
        mounted("tmpfs", tmp_path / "small", "size=1M") as disk,
        ReferenceSubscriber(broker.port, acks=False) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=disk / "state") as publisher,
    ):
        publisher.state("ready")
        for number in range(50):
            publisher(summary(number))
        fill(disk)  # somebody else takes the rest of the disk
        for number in range(50, 1500):
            publisher(summary(number))
        # The last window is live: it arrives although the disk takes nothing more.
        wait_until(lambda: publisher.newest_seq in {w["seq"] for w in collector.payloads("window")}, 60, "the newest")
        wait_until(
            lambda: any("disk full" in (s["reason"] or "") for s in collector.payloads("status")), 20, "degraded"
        )
        wait_until(lambda: len(collector.stream().windows.keys() | collector.stream().gaps.keys()) == 1500, 60, "all")


def test_what_a_full_disk_took_is_declared(tmp_path: Path) -> None:
    """Without a broker, on a full disk: the oldest files give their room, and a gap says which windows they had."""
    with mounted("tmpfs", tmp_path / "small", "size=1M") as disk:
        with Publisher(settings(1), MADE_BY, pace=FAST, state_dir=disk / "state") as publisher:
            publisher(summary(0))
            fill(disk)
            for number in range(1, 1500):
                publisher(summary(number))
        spool = DiskSpool(disk / "state" / "spool", 64_000_000, 1e9)
        kept = [spool.read(position) for position in spool.pending()]
        gaps = [json.loads(e.payload) for e in kept if e.kind == "gap"]
        windows = {e.seq for e in kept if e.kind == "window"}
        lost = {seq for gap in gaps for seq in range(gap["from"], gap["to"] + 1)}
        spool.close()
    assert {gap["reason"] for gap in gaps} == {"disk_full"}
    assert windows | lost == set(range(1, 1501))
    assert not windows & lost


def test_a_full_disk_that_deleting_does_not_help_loses_nothing(tmp_path: Path) -> None:
    """A snapshot (here: hard links) keeps what is deleted: one file is given up, and memory has all windows."""
    with mounted("tmpfs", tmp_path / "small", "size=1M") as disk:
        spool = SharedSpool(lambda: DiskSpool(disk / "spool", 64_000, 1e9))  # 16 KiB a file, three at most
        for _ in range(130):
            spool.add(_body)
        (disk / "snapshot").mkdir()
        for file in (disk / "spool").glob("*.log"):
            (disk / "snapshot" / file.name).hardlink_to(file)
        fill(disk)
        numbers = set(range(1, 131))
        for number in range(131, 400):
            spool.add(_body)
            if "memory" in (spool.trouble or ""):
                break
            numbers.add(number)
        assert "memory" in (spool.trouble or ""), "the disk was never full"
        _, late = spool.backlog(float("inf"))
        kept = [entry for position in late if (entry := spool.read(position))]
        assert len(list((disk / "spool").glob("*.log"))) >= 2
        spool.close()
    lost = [json.loads(entry.payload) for entry in kept if entry.kind == "gap"]
    told = {entry.seq for entry in kept if entry.epoch == kept[0].epoch}
    told |= {seq for gap in lost for seq in range(gap["from"], gap["to"] + 1)}
    assert numbers <= told


def test_a_damaged_file_on_a_full_disk_keeps_its_good_records(tmp_path: Path) -> None:
    """No room for the repaired file: the good records come from the damaged one, at every start, and new windows too;
    with room again it is repaired and put aside."""
    with mounted("tmpfs", tmp_path / "small", "size=1M") as disk:
        spool = DiskSpool(disk / "spool", 64 << 10, 1e9)
        for _ in range(8):
            spool.add(_body)
        spool.release()
        (file,) = (disk / "spool").glob("*.log")
        with file.open("r+b") as damaged:
            damaged.seek(64 + 20 + 300)  # inside the first window
            damaged.write(b"?")
        fill(disk)
        for start in range(2):
            spool = DiskSpool(disk / "spool", 64 << 10, 1e9)
            assert _windows(spool) >= set(range(2, 9)), f"start {start}"
            spool.add(_body)
            spool.release()
        assert list((disk / "spool").glob("*.log")) == [file]
        kept = _windows(spool)
        (disk / "other").unlink()
        spool = DiskSpool(disk / "spool", 64 << 10, 1e9)
        assert _windows(spool) == kept
        assert set(spool.find(1, spool.newest_seq)) == set(range(1, spool.newest_seq + 1)), "an undeclared loss"
        assert len(list((disk / "spool" / "quarantine").iterdir())) == 1
        spool.close()


def _body(epoch: str, seq: int) -> bytes:
    return json.dumps({"epoch": epoch, "seq": seq, "pad": "x" * 560}).encode()


def _windows(spool: DiskSpool) -> set[int]:
    """Numbers of the windows that can be read."""
    kept = [e for p in spool.pending() if (e := spool.read(p)) is not None and e.kind == "window"]
    assert all(json.loads(e.payload)["seq"] == e.seq for e in kept)
    return {e.seq for e in kept}


def test_killed_while_it_repairs_it_loses_no_good_record(tmp_path: Path) -> None:
    """SIGKILL at each step that gives or takes a name: the next start has every good record."""
    for call in ("link,linkat", "rename,renameat,renameat2"):
        folder = tmp_path / call
        spool = DiskSpool(folder, 64 << 10, 1e9)
        for _ in range(8):
            spool.add(_body)
        spool.release()
        (file,) = folder.glob("*.log")
        with file.open("r+b") as damaged:
            damaged.seek(64 + 20 + 300)
            damaged.write(b"?")
        _start_and_die(folder, call, file, file.with_suffix(".tmp"))
        spool = DiskSpool(folder, 64 << 10, 1e9)
        assert _windows(spool) == set(range(2, 9)), call
        spool.close()


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_killed_before_it_declares_what_was_cut_off_it_uses_no_number_again(call: str, tmp_path: Path) -> None:
    """The file is repaired and looks whole, and the start dies before the loss is on the disk: the next one knows."""
    spool = DiskSpool(tmp_path / "spool", 64 << 10, 1e9)
    for _ in range(8):
        spool.add(_body)
    spool.release()
    (file,) = (tmp_path / "spool").glob("*.log")
    data = file.read_bytes().rstrip(b"\0")
    file.write_bytes(data[: len(data) // 2])
    _start_and_die(tmp_path / "spool", call, tmp_path / "spool" / "head")
    again = DiskSpool(tmp_path / "spool", 64 << 10, 1e9)
    assert set(again.find(1, 8)) == set(range(1, 9)), "an undeclared loss"
    assert again.newest_seq >= 8
    again.close()


def test_killed_while_it_drops_it_uses_no_number_again(tmp_path: Path) -> None:
    """`fer-agent spool drop` dies as it declares the loss: no window has gone yet."""
    spool = DiskSpool(tmp_path / "spool", 64 << 10, 1e9)
    for _ in range(8):
        spool.add(_body)
    spool.close()
    _start_and_die(tmp_path / "spool", "pwrite64", tmp_path / "spool" / "000000000002.log", then=".drop()")
    again = DiskSpool(tmp_path / "spool", 64 << 10, 1e9)
    assert set(again.find(1, 8)) == set(range(1, 9)), "an undeclared loss"
    assert again.newest_seq >= 8
    again.close()


def _start_and_die(folder: Path, call: str, *paths: Path, then: str = "") -> None:
    """Open the spool in a process that dies of the system call `call` on one of `paths`, which is not done."""
    start = f"DiskSpool(pathlib.Path({str(folder)!r}), 65536, 1e9){then}"
    code = f"import pathlib; from agent.delivery.disk import DiskSpool; {start}"
    trace = _strace("-o", str(folder.with_suffix(".trace")), *(word for path in paths for word in ("-P", str(path))))
    inject = f"inject={call}:error=EIO:signal=KILL"
    done = subprocess.run(
        [*trace, "-e", inject, sys.executable, "-B", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    if "ptrace" in done.stderr:
        pytest.skip("tracing is not possible here")
    assert done.returncode != 0, "it was not killed"


def test_a_read_only_state_folder_means_memory(broker: Mosquitto, tmp_path: Path) -> None:
    """It starts all the same, says "degraded: spool in memory", delivers, and stops cleanly."""
    with mounted("tmpfs", tmp_path / "ro", "size=1M") as disk:
        remount(disk, "ro")
        with (
            ReferenceSubscriber(broker.port) as collector,
            Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=disk / "state") as publisher,
        ):
            publisher.state("ready")
            for number in range(10):
                publisher(summary(number))
            wait_until(lambda: len(collector.stream().windows) == 10, 20)
            wait_until(lambda: any("spool in memory" in (s["reason"] or "") for s in collector.payloads("status")), 20)
            publisher.check()


def test_a_disk_that_becomes_read_only_means_memory(broker: Mosquitto, tmp_path: Path) -> None:
    """While it runs: what was on disk is rescued, nothing is lost, the status says why."""
    with (
        mounted(ext4_image(tmp_path / "disk.img"), tmp_path / "rw", "loop") as disk,
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=disk / "state") as publisher,
    ):
        publisher.state("ready")
        publisher(summary(0))
        remount(disk, "abort")  # what ext4 does by itself after an error of the card: nothing can be written
        for number in range(1, 10):
            publisher(summary(number))
        wait_until(lambda: len({(w["epoch"], w["seq"]) for w in collector.payloads("window")}) == 10, 20)
        wait_until(lambda: any("spool in memory" in (s["reason"] or "") for s in collector.payloads("status")), 20)


def _strace(*options: str) -> list[str]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian package strace)")
    return ["strace", "-f", "-qq", *options]


def _agent(port: int, state: Path, notes: Path, count: int) -> list[str]:
    code = f"from tests.delivery_agent import main; main({port}, {str(state)!r}, {str(notes)!r}, 0.02, {count})"
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_eio_means_memory_and_no_crash_loop(broker: Mosquitto, tmp_path: Path, call: str) -> None:
    """Every write or sync fails with EIO from the twelfth on: all windows arrive, the status says why, exit 0. A later
    start finds none of them on the disk under another number."""
    with ReferenceSubscriber(broker.port) as collector:
        trace = _strace("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when=12+")
        done = subprocess.run(
            [*trace, *_agent(broker.port, tmp_path / "state", tmp_path / "notes", 40)],
            cwd=ROOT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if "ptrace" in done.stderr:
            pytest.skip("tracing is not possible here")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: len({(w["epoch"], w["seq"]) for w in collector.payloads("window")}) == 40, 30)
        reasons = [s["reason"] or "" for s in collector.payloads("status")]
        came = {(w["epoch"], w["seq"]) for w in collector.payloads("window")}
    assert any("spool in memory" in reason for reason in reasons)
    assert done.stderr.count("event=spool.in_memory") == 1, "said once"
    spool = DiskSpool(tmp_path / "state" / "spool", 64 << 20, 1e9)
    assert {(spool.epoch, seq) for seq in _windows(spool)} <= came
    spool.close()


def test_a_window_is_synced_before_it_is_published(broker: Mosquitto, tmp_path: Path) -> None:
    """In the order of system calls: its record is written, synced, and only then sent."""
    log = tmp_path / "trace"
    trace = _strace("-o", str(log), "-s", "4096", "-e", "trace=pwrite64,fdatasync,sendto,write")
    done = subprocess.run(
        [*trace, *_agent(broker.port, tmp_path / "state", tmp_path / "notes", 10)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode != 0 and "ptrace" in done.stderr:
        pytest.skip("tracing is not possible here")
    written: dict[int, int] = {}
    synced: set[int] = set()
    sent = 0
    for line in log.read_text().splitlines():
        seq = re.search(r'\\"seq\\":(\d+)', line)
        if "pwrite64(" in line and seq:
            written[int(seq[1])] = 1
        elif "fdatasync(" in line or "fdatasync resumed" in line:
            if line.rstrip().endswith("= 0"):
                synced |= written.keys()
        elif seq and ("sendto(" in line or "write(" in line):
            sent += 1
            assert int(seq[1]) in synced, f"window {seq[1]} was sent before it was synced"
    assert sent >= 10
    assert json.dumps(sorted(synced)) == json.dumps(list(range(1, 11)))
