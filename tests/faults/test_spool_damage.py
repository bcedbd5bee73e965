"""A spool that was cut, flipped or torn starts, keeps what is good, and declares what is not (faults 21, 22)."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.delivery import frames
from agent.delivery.disk import DiskSpool

WINDOWS = 4


def body(epoch: str, seq: int) -> bytes:
    return json.dumps({"epoch": epoch, "seq": seq, "pad": "y" * 150}).encode()


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A spool of four windows after a crash."""
    spool = DiskSpool(tmp_path / "sound", 64 * 1024, 1e9)
    for _ in range(WINDOWS):
        spool.add(body)
    spool.release()
    return tmp_path / "sound"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of starts, each with its syncs."""
    home = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    folder = home / f"fer-damage-{random.getrandbits(40):x}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _start(sound: Path, folder: Path, damaged: bytes) -> tuple[DiskSpool, set[int], set[int]]:
    """Start on a copy whose only file is `damaged`; the spool, the numbers it has, and those it declared lost."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    next(folder.glob("*.log")).write_bytes(damaged)
    spool = DiskSpool(folder, 64 * 1024, 1e9)
    windows, lost = set(), set()
    for entry in map(spool.read, spool.pending()):
        if entry.epoch != spool.epoch:
            continue
        what = json.loads(entry.payload)
        if entry.kind == "window":
            assert what["seq"] == entry.seq
            windows.add(entry.seq)
        else:
            lost |= set(range(what["from"], what["to"] + 1))
    return spool, windows, lost


def _promises(spool: DiskSpool, windows: set[int], lost: set[int]) -> None:
    """Every number is a window or declared lost, never both; the next one was never used."""
    used = set(range(1, spool.newest_seq + 1))
    assert windows | lost == used
    assert not windows & lost
    assert used >= set(range(1, WINDOWS + 1)), "a number could be used again"
    fresh = spool.read(spool.add(body))
    assert fresh.seq > WINDOWS


def test_cut_at_every_byte(sound: Path, scratch: Path) -> None:
    """For every length the file can be cut to: it starts, keeps the good prefix, puts the file aside, declares the
    rest, and uses no number again."""
    file = next(sound.glob("*.log"))
    data = file.read_bytes()
    scan = frames.scan(data, len(data))
    for length in range(scan.end + 2):
        spool, windows, lost = _start(sound, scratch, data[:length])
        whole = {r.seq for r in scan.records if r.offset + r.length <= length}
        if length < frames.HEADER_BYTES:
            assert windows == set(), "without a header nobody knows whose these are"
        else:
            assert windows == whole, length
        assert list((scratch / "quarantine").iterdir()), length
        _promises(spool, windows, lost)
        spool.close()


def test_flipped_bits(sound: Path, scratch: Path) -> None:
    """Random bits flipped, 300 times: bad records are skipped and declared "corrupt", good ones are kept."""
    rng = random.Random(22)
    file = next(sound.glob("*.log"))
    sound_data = file.read_bytes()
    scan = frames.scan(sound_data, len(sound_data))
    corrupt = 0
    for _ in range(300):
        data = bytearray(sound_data)
        flipped = [rng.randrange(frames.HEADER_BYTES, scan.end) for _ in range(rng.randint(1, 3))]
        for at in flipped:
            data[at] ^= 1 << rng.randrange(8)
        hit = {
            r.seq for r in scan.records if any(r.offset - frames.OVERHEAD <= at < r.offset + r.length for at in flipped)
        }
        spool, windows, lost = _start(sound, scratch, bytes(data))
        good = {r.seq for r in scan.records} - hit
        assert good <= windows
        corrupt += bool(hit & lost)
        _promises(spool, windows, lost)
        spool.close()
    assert corrupt > 250


@pytest.mark.parametrize("slot", [0, 1])
def test_a_torn_head(sound: Path, scratch: Path, slot: int) -> None:
    """One of the head's two slots torn: the other one has the counter, and no number is used again."""
    head = sound / "head"
    data = bytearray(head.read_bytes())
    data[slot * 4096 + 10 : slot * 4096 + 200] = b"\xff" * 190
    head.write_bytes(data)
    file = next(sound.glob("*.log"))
    spool, windows, lost = _start(sound, scratch, file.read_bytes())
    assert windows == set(range(1, WINDOWS + 1))
    _promises(spool, windows, lost)
    spool.close()


def test_garbage_instead_of_a_file(sound: Path, scratch: Path) -> None:
    """Random bytes in its place: all is declared, nothing crashes."""
    spool, windows, lost = _start(sound, scratch, random.Random(1).randbytes(16384))
    assert windows == set()
    _promises(spool, windows, lost)
    spool.close()


@pytest.mark.parametrize("used", [17, 33])
def test_a_file_that_is_gone_gives_no_number_back(used: int, tmp_path: Path) -> None:
    """However many windows there were since the start: numbers are reserved, and that is synced, before they are
    used."""
    spool = DiskSpool(tmp_path / "spool", 64 * 1024, 1e9)
    for _ in range(used):
        spool.add(body)
    spool.release()
    for file in (tmp_path / "spool").glob("*.log"):
        file.unlink()
    again = DiskSpool(tmp_path / "spool", 64 * 1024, 1e9)
    assert again.newest_seq >= used
    assert sorted(again.find(1, used)) == list(range(1, used + 1))
    again.close()


def test_a_damaged_header_of_the_newest_file_gives_no_number_back(tmp_path: Path) -> None:
    """Nobody knows which numbers were in it, while the file before it is whole."""
    spool = DiskSpool(tmp_path / "spool", 64 * 1024, 1e9)
    while len(files := sorted((tmp_path / "spool").glob("*.log"))) < 2:
        spool.add(body)
    for _ in range(10):
        spool.add(body)
    used = spool.newest_seq
    spool.close()
    data = bytearray(files[-1].read_bytes())
    data[3] ^= 1
    files[-1].write_bytes(data)
    again = DiskSpool(tmp_path / "spool", 64 * 1024, 1e9)
    assert again.newest_seq >= used
    assert sorted(again.find(1, used)) == list(range(1, used + 1))
    again.close()
