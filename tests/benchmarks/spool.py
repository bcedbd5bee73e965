"""What keeping a window costs: the log of our own against SQLite in WAL mode, in one run; and publishing, whole.

python -m tests.benchmarks.spool [--windows 1440] [--folder DIR] [--json]

A day is 1,440 windows of 60 s. Each one is kept, synced, and acknowledged before the next, as in service. As root the
two run on an ext4 of their own, and what the device was given to write is counted (journal and all); "settled" also
syncs the whole file system after every window, as the kernel does by itself within the minute.
"""

import contextlib
import ctypes
import json
import os
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from agent.delivery import payload
from agent.delivery.disk import DiskSpool
from agent.delivery.publish import Publisher
from agent.delivery.wallclock import WallTime, media_clock
from tests.mqtt_world import MADE_BY, Mosquitto, settings, speaker, summary

DAY = 1440


def body(epoch: str, seq: int) -> bytes:
    """A real payload, about 800 bytes."""
    made = payload.window(summary(seq), speaker(), MADE_BY, WallTime(0, True, "ntp"), epoch=epoch, seq=seq)
    return made.encode()


class Log:
    """Ours."""

    def __init__(self, folder: Path) -> None:
        self._spool = DiskSpool(folder / "spool", 64_000_000, 1e9)

    def add(self, make) -> None:
        self._spool.add(make)

    def ack(self, upto: int) -> None:
        self._spool.ack(self._spool.epoch, upto)

    def close(self) -> None:
        self._spool.close()


class Sqlite:
    """The alternative: WAL, synchronous = FULL, one commit a window; the ack is written with the next window."""

    def __init__(self, folder: Path) -> None:
        self._base = sqlite3.connect(folder / "spool.db", isolation_level=None)
        self._base.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE IF NOT EXISTS windows (seq INTEGER PRIMARY KEY AUTOINCREMENT, epoch TEXT, payload BLOB)"
        )
        self._acked = self._seq = 0

    def add(self, make) -> None:
        self._seq += 1
        self._base.execute("BEGIN IMMEDIATE")
        self._base.execute("DELETE FROM windows WHERE seq <= ?", (self._acked,))
        self._base.execute("INSERT INTO windows VALUES (?, ?, ?)", (self._seq, "e", make("e", self._seq)))
        self._base.execute("COMMIT")

    def ack(self, upto: int) -> None:
        self._acked = upto

    def close(self) -> None:
        self._base.close()


@dataclass
class Cost:
    """Of one kind of spool."""

    windows_per_s: float
    """With every sync."""
    cpu_ms: float
    """A window, milliseconds of processor."""
    bytes_a_window: float
    """Written, as the kernel counts for this process; by the device where there is one of our own."""

    def a_day(self) -> float:
        """Megabytes written a day at windows of 60 s."""
        return self.bytes_a_window * DAY / 1e6


@contextlib.contextmanager
def device(parent: Path) -> Iterator[tuple[Path, Path | None]]:
    """A folder on an ext4 of its own with the block device's counters, or a plain folder."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="spool-bench-") as name:
        folder = Path(name)
        image, mount = folder / "disk.img", folder / "mount"
        with image.open("wb") as file:
            file.truncate(256 << 20)
        mount.mkdir()
        made = os.geteuid() == 0 and not any(
            subprocess.run(command, capture_output=True).returncode
            for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(mount)])
        )
        if not made:
            yield folder, None
            return
        try:
            found = subprocess.run(["findmnt", "-no", "SOURCE", str(mount)], capture_output=True, text=True, check=True)
            yield mount, Path("/sys/block") / Path(found.stdout.strip()).name / "stat"
        finally:
            subprocess.run(["umount", "-l", str(mount)], check=False)


def written(counters: Path | None) -> int:
    """Bytes written so far."""
    if counters is not None:
        return 512 * int(counters.read_text().split()[6])
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


def settle(folder: Path) -> None:
    """Write out all that this file system owes."""
    fd = os.open(folder, os.O_RDONLY)
    ctypes.CDLL(None, use_errno=True).syncfs(fd)
    os.close(fd)


def measure(kind: type[Log] | type[Sqlite], parent: Path, windows: int, *, settled: bool) -> Cost:
    """Keep and acknowledge so many windows."""
    with device(parent) as (folder, counters):
        spool = kind(folder)
        settle(folder)
        bodies = {seq: body("e" * 12, seq) for seq in range(1, windows + 1)}
        before, start, cpu = written(counters), time.perf_counter(), time.process_time()
        for seq in range(1, windows + 1):
            spool.add(lambda _epoch, number: bodies[number])
            if seq > 1:
                spool.ack(seq - 1)
            if settled:
                settle(folder)
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        settle(folder)
        cost = Cost(windows / took, 1000 * cpu / windows, (written(counters) - before) / windows)
        spool.close()
    return cost


def publish(parent: Path, windows: int) -> Cost:
    """The whole delivery: payload, spool with sync, MQTT to a real broker, PUBACK, ack."""
    with (
        tempfile.TemporaryDirectory(prefix="spool-bench-") as name,
        Mosquitto(Path(name) / "b") as broker,
        device(parent) as (folder, counters),
    ):
        clock, wanted = media_clock(0), settings(broker.port)
        with Publisher(wanted, MADE_BY, clock=clock, state_dir=folder / "state") as publisher:
            publisher.wait_connected(10)
            settle(folder)
            before, start, cpu = written(counters), time.perf_counter(), time.process_time()
            for number in range(windows):
                publisher(summary(number))
            kept = time.perf_counter() - start
            while not publisher._courier.outbox.idle:
                time.sleep(0.001)
            cpu = time.process_time() - cpu
            settle(folder)
            return Cost(windows / kept, 1000 * cpu / windows, (written(counters) - before) / windows)


@click.command()
@click.option("--windows", type=click.IntRange(10), default=DAY, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="On which disk.")
@click.option("--json", "as_json", is_flag=True)
def main(windows: int, folder: Path, as_json: bool) -> None:
    """Print a line for each way to keep a window, and how the two compare."""
    told: dict[str, Cost] = {}
    for name, kind in (("log", Log), ("sqlite-wal", Sqlite)):
        told[name] = measure(kind, folder, windows, settled=False)
        told[f"{name}, settled"] = measure(kind, folder, windows, settled=True)
    told["publisher"] = publish(folder, windows)
    if as_json:
        click.echo(json.dumps({name: vars(cost) | {"mb_a_day": cost.a_day()} for name, cost in told.items()}))
        return
    click.echo(f"{windows} windows of {len(body('e' * 12, 1))} bytes")
    for name, cost in told.items():
        click.echo(
            f"{name:22} {cost.windows_per_s:7.0f} windows/s  {cost.cpu_ms:6.3f} ms CPU  "
            f"{cost.bytes_a_window:7.0f} B written a window  {cost.a_day():6.2f} MB a day at 60 s"
        )
    for suffix in ("", ", settled"):
        ours, other = told[f"log{suffix}"], told[f"sqlite-wal{suffix}"]
        click.echo(
            f"log : sqlite-wal{suffix} = {ours.windows_per_s / other.windows_per_s:.2f} in windows/s, "
            f"{ours.bytes_a_window / other.bytes_a_window:.2f} in bytes"
        )


if __name__ == "__main__":
    main()
