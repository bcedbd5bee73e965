"""Every spool keeps what it is given until a collector has it; the one on disk also over a restart."""

import json
import shutil
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.delivery.disk import DiskSpool
from agent.delivery.memory import Build, Entry, MemorySpool, Spool
from agent.delivery.shared import SharedSpool
from agent.errors import ConfigError, TryAgainError

DAY = 86400.0


def body(epoch: str, seq: int) -> bytes:
    """A payload of 600 bytes."""
    return json.dumps({"epoch": epoch, "seq": seq, "pad": "x" * 560}).encode()


def opened(folder: Path, cap: int = 1 << 20, now: Callable[[], float | None] | None = None) -> DiskSpool:
    return DiskSpool(folder, cap, DAY) if now is None else DiskSpool(folder, cap, DAY, now)


@pytest.fixture(params=["disk", "memory"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spool]:
    """Both kinds."""
    made = opened(tmp_path / "spool") if request.param == "disk" else MemorySpool()
    yield made
    made.close()


def test_numbers_rise_by_one_from_one(spool: Spool) -> None:
    """The payload is built with the epoch and the number under which it is kept."""
    positions = [spool.add(body) for _ in range(5)]
    kept = [spool.read(p) for p in positions]
    assert [e.seq for e in kept] == [1, 2, 3, 4, 5]
    assert [json.loads(e.payload)["seq"] for e in kept] == [1, 2, 3, 4, 5]
    assert {e.epoch for e in kept} == {spool.epoch}


def test_an_ack_takes_what_it_covers(spool: Spool) -> None:
    """Up to and including; later windows wait on."""
    positions = [spool.add(body) for _ in range(5)]
    assert not spool.ack(spool.epoch, 3), "no new epoch"
    assert spool.pending() == positions[3:]
    assert spool.read(positions[0]) is None
    assert spool.acked == 3


@pytest.mark.parametrize(("epoch", "upto"), [("another", 5), (None, 6), (None, 10**300), (None, 0)])
def test_an_ack_that_cannot_be_right_takes_nothing(spool: Spool, epoch: str | None, upto: int) -> None:
    """Another epoch, numbers that were never used, or nothing at all."""
    for _ in range(5):
        spool.add(body)
    spool.ack(epoch or spool.epoch, upto)
    assert len(spool.pending()) == 5
    assert not spool.acked


def test_acks_never_go_back(spool: Spool) -> None:
    """An older ack after a newer one is ignored."""
    for _ in range(5):
        spool.add(body)
    spool.ack(spool.epoch, 4)
    spool.ack(spool.epoch, 2)
    assert spool.acked == 4


def test_a_gap_is_kept_until_an_ack_covers_it(spool: Spool) -> None:
    """A declared gap leaves the spool no earlier than the windows around it."""
    spool.add(body)
    gap = spool.add_gap(1, 1, "corrupt")
    spool.ack(spool.epoch, 0)
    assert spool.read(gap).kind == "gap"
    spool.ack(spool.epoch, 1)
    assert spool.pending() == []


def test_find_tells_of_windows_and_of_declared_gaps(spool: Spool) -> None:
    """A resend over both brings both: the collector must not hear another reason for the same loss."""
    first, second = spool.add(body), spool.add(body)
    gap = spool.add_gap(3, 4, "crash")
    assert spool.find(1, 9) == {1: first, 2: second, 3: gap, 4: gap}
    assert spool.find(2, 3) == {2: second, 3: gap}
    assert spool.find(8, 9) == {}


def test_the_cap_takes_the_oldest_and_declares_it_once(tmp_path: Path) -> None:
    """When the disk's cap is reached, the oldest file goes, and a gap says which numbers."""
    with_cap = opened(tmp_path / "spool", cap=64 * 1024)
    for _ in range(300):
        with_cap.add(body)
    assert with_cap.size <= 64 * 1024
    gaps = [json.loads(e.payload) for p in with_cap.pending() if (e := with_cap.read(p)).kind == "gap"]
    assert {g["reason"] for g in gaps} == {"cap"}
    lost = [seq for g in gaps for seq in range(g["from"], g["to"] + 1)]
    kept = [e.seq for p in with_cap.pending() if (e := with_cap.read(p)).kind == "window"]
    # Gaps that lay in a dropped file are declared again with it, so every number is told, and none is both.
    assert set(lost) | set(kept) == set(range(1, 301))
    assert not set(lost) & set(kept)
    with_cap.close()


def test_the_cap_of_memory_takes_the_oldest_and_declares_it() -> None:
    """In memory the same promise holds."""
    small = MemorySpool(cap=50)
    for _ in range(120):
        small.add(body)
    told = small.find(1, 120)
    assert set(told) == set(range(1, 121))
    assert len(small.pending()) <= 60


def stamped(at: float, *, synced: bool) -> Build:
    """Makes payloads of windows that ended at `at`, by a clock that was synchronised or not."""
    clock = {"synced": synced, "source": "ntp" if synced else "none"}
    return lambda epoch, seq: json.dumps(
        {"seq": seq, "end_ms": round(at * 1000), "clock": clock, "pad": "x" * 560}
    ).encode()


def reasons(spool: DiskSpool) -> set[str]:
    """Why numbers were declared lost."""
    return {json.loads(e.payload)["reason"] for p in spool.pending() if (e := spool.read(p)).kind == "gap"}


def test_what_is_too_old_goes_and_is_declared(tmp_path: Path) -> None:
    """Files older than spool_days are dropped, with reason "age"; a file of unknown age goes with a later one."""
    spool = opened(tmp_path / "spool", now=lambda: 20 * DAY)
    for at, synced in ((1, False), (2, True), (3, False)):
        for _ in range(450):
            spool.add(stamped(at, synced=synced))
    kept = [e.seq for p in spool.pending() if (e := spool.read(p)).kind == "window"]
    assert 450 < kept[0] <= 900, "the files behind the last synchronised window are of unknown age, and stay"
    assert reasons(spool) == {"age"}
    spool.close()


@pytest.mark.parametrize(("stamp", "now"), [(0.0, None), (400 * DAY, None), (0.0, 400 * DAY)])
def test_a_clock_that_is_not_synchronised_makes_nothing_old(tmp_path: Path, stamp: float, now: float | None) -> None:
    """Fault 44. Booted years off, and windows from then once the clock is set: no window is dropped for its age."""
    spool = opened(tmp_path / "spool", now=lambda: now)
    for _ in range(900):
        spool.add(stamped(stamp, synced=False))
    spool.close()
    again = opened(tmp_path / "spool", now=lambda: now)
    again.add(stamped(now or stamp, synced=now is not None))
    assert len(again.pending()) == 901
    again.close()


def test_a_restart_goes_on_counting(tmp_path: Path) -> None:
    """After a clean stop: same epoch, next number, all windows that no collector has, and no gap."""
    before = opened(tmp_path / "spool")
    for _ in range(7):
        before.add(body)
    before.ack(before.epoch, 2)
    before.close()
    after = opened(tmp_path / "spool")
    assert after.epoch == before.epoch
    assert [e.seq for p in after.pending() if (e := after.read(p)).seq > 2] == [3, 4, 5, 6, 7]
    assert after.read(after.add(body)).seq == 8
    assert all(after.read(p).kind == "window" for p in after.pending())
    after.close()


def test_what_grew_too_old_while_it_was_off_goes_at_the_start(tmp_path: Path) -> None:
    """Nobody waits for a new window: the start drops what is older than spool_days, and declares it."""
    before = opened(tmp_path / "spool", cap=64 * 1024, now=lambda: 2 * DAY)
    for _ in range(50):
        before.add(stamped(2 * DAY, synced=True))
    before.close()
    after = opened(tmp_path / "spool", cap=64 * 1024, now=lambda: 20 * DAY)
    kept = [e.seq for p in after.pending() if (e := after.read(p)).kind == "window"]
    assert 1 < kept[0] <= kept[-1] == 50, "the newest file stays"
    assert reasons(after) == {"age"}
    assert set(after.find(1, 50)) == set(range(1, 51))
    after.close()


def test_a_file_that_an_ack_emptied_is_not_declared_lost_after_a_crash(tmp_path: Path) -> None:
    """The file is deleted at once; that a collector has its windows is known to the next start."""
    before = opened(tmp_path / "spool", cap=64 * 1024)
    for _ in range(50):
        before.add(body)
    before.ack(before.epoch, 40)
    assert not (tmp_path / "spool" / "000000000001.log").exists()
    before.release()
    after = opened(tmp_path / "spool", cap=64 * 1024)
    assert (after.acked, sorted(after.find(1, 99)), reasons(after)) == (40, list(range(41, 52)), {"crash"})
    after.close()


def test_a_file_that_cannot_be_made_costs_no_window(tmp_path: Path) -> None:
    """For any other reason than a full disk nothing is dropped: the new window is refused, with its number, and all
    others stay."""
    spool = opened(tmp_path / "spool", cap=64 * 1024)
    (tmp_path / "spool" / "000000000002.tmp").mkdir()
    with pytest.raises(IsADirectoryError):
        [spool.add(body) for _ in range(50)]
    assert sorted(spool.find(1, 99)) == list(range(1, spool.newest_seq + 1))
    assert len([p for p in spool.pending() if spool.read(p) is not None]) == spool.newest_seq > 1
    used = spool.newest_seq
    (tmp_path / "spool" / "000000000002.tmp").rmdir()
    assert spool.read(spool.add(body)).seq == used + 1
    assert spool.trouble is None
    spool.close()


def test_a_crash_declares_the_open_window(tmp_path: Path) -> None:
    """After a stop that was none, the number of the window that was open is declared lost, and not used."""
    before = opened(tmp_path / "spool")
    for _ in range(3):
        before.add(body)
    before.release()
    after = opened(tmp_path / "spool")
    assert json.loads(after.read(after.find(4, 4)[4]).payload) == {"from": 4, "to": 4, "reason": "crash"}
    assert after.read(after.add(body)).seq == 5
    after.close()


def test_a_lost_head_begins_a_new_epoch(tmp_path: Path) -> None:
    """Without the counter no number can be trusted to be new: the epoch changes, the old windows keep theirs."""
    before = opened(tmp_path / "spool")
    for _ in range(3):
        before.add(body)
    before.close()
    (tmp_path / "spool" / "head").unlink()
    after = opened(tmp_path / "spool")
    assert after.epoch != before.epoch
    assert after.read(after.add(body)).seq == 1
    assert list(after.find(1, 9)) == [1], "who asks means the epoch of now"
    assert sorted(e.epoch for p in after.pending() if (e := after.read(p))) == sorted(
        [before.epoch] * 3 + [after.epoch]
    )
    after.close()


def test_a_restored_spool_begins_a_new_epoch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An ack of numbers that this spool never gave: it came from a backup, and a collector knows these numbers. What
    this run added is counted anew, what was there keeps its numbers; once a run, and for good."""
    card, backup = tmp_path / "card", tmp_path / "backup"
    opened(card).release()
    spool = opened(card)
    for _ in range(4):
        spool.add(body)
    spool.close()
    shutil.copytree(card, backup)
    used = (spool := opened(backup)).epoch
    for _ in range(3):
        spool.add(body)
    assert spool.ack(used, 40)
    assert not spool.ack(spool.epoch, 10**300), "again in the same run: somebody's nonsense"
    kept = {seq: spool.read(position) for seq, position in spool.find(1, 99).items()}
    assert {seq: (e.kind, e.epoch, e.seq) for seq, e in kept.items()} == {
        seq: ("window", spool.epoch, seq) for seq in (1, 2, 3)
    }
    spool.add(body)
    spool.close()
    assert "event=spool.numbers_used_before upto=40 newest=8" in caplog.text
    again = opened(backup)
    assert again.epoch == spool.epoch != used
    told = {(e.epoch, e.seq): json.loads(e.payload) for p in again.pending() if (e := again.read(p)).kind == "window"}
    assert {key for key in told if key[0] == again.epoch} == {(again.epoch, seq) for seq in (1, 2, 3, 4)}
    assert {(used, seq) for seq in (2, 3, 4, 5)} <= told.keys()
    assert all((window["epoch"], window["seq"]) == key for key, window in told.items())
    assert again.read(again.add(body)).seq == 5
    assert all(again.read(p).kind == "window" for p in again.pending() if again.read(p).epoch == again.epoch)
    again.close()


def test_a_spool_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    """After a downgrade nothing is deleted: exit 78, with what to do."""
    spool = opened(tmp_path / "spool")
    spool.add(body)
    spool.close()
    head = tmp_path / "spool" / "head"
    data = bytearray(head.read_bytes())
    for at in (0, 4096):
        text = (
            bytes(data[at : at + 512]).partition(b" ")[2].partition(b"\n")[0].replace(b'"version": 1', b'"version": 2')
        )
        if text:
            line = b"%08x %s\n" % (zlib.crc32(text), text)
            data[at : at + 512] = line.ljust(512, b"\0")
    head.write_bytes(data)
    before = {p.name: p.read_bytes() for p in (tmp_path / "spool").iterdir()}
    with pytest.raises(ConfigError, match="a newer fer-agent made it"):
        opened(tmp_path / "spool")
    assert {p.name: p.read_bytes() for p in (tmp_path / "spool").iterdir()} == before


def test_two_processes_cannot_share_a_spool(tmp_path: Path) -> None:
    """The second one is refused with what to do, as long as the first one is there."""
    spool = opened(tmp_path / "spool")
    with pytest.raises(TryAgainError, match="another fer-agent uses this spool"):
        opened(tmp_path / "spool")
    spool.close()
    opened(tmp_path / "spool").close()


def test_what_a_broker_took_is_not_declared_lost_without_a_collector(tmp_path: Path) -> None:
    """Where nobody acks, a PUBACK is all there is: dropped by the cap, it is no gap, not even after a crash."""
    spool = opened(tmp_path / "spool", cap=64 * 1024)
    for _ in range(300):
        spool.confirm(spool.add(body))
    spool.release()
    after = opened(tmp_path / "spool", cap=64 * 1024)
    gaps = [json.loads(e.payload) for p in after.pending() if (e := after.read(p)).kind == "gap"]
    assert gaps == [{"from": 301, "to": 301, "reason": "crash"}]
    after.close()


def test_what_a_broker_took_is_known_after_a_restart(tmp_path: Path) -> None:
    """Up to the first window that no broker took; what is behind that one is sent again."""
    before = opened(tmp_path / "spool")
    positions = [before.add(body) for _ in range(5)]
    for taken in (0, 1, 3):
        before.confirm(positions[taken])
    assert [before.confirmed(p) for p in positions] == [True, True, False, True, False]
    before.close()
    after = opened(tmp_path / "spool")
    assert [after.confirmed(p) for p in after.pending()] == [True, True, False, False, False]
    after.close()


def test_drop_gives_up_everything_and_says_so(tmp_path: Path) -> None:
    """What is dropped is declared lost; the next window has the next number."""
    spool = opened(tmp_path / "spool")
    for _ in range(5):
        spool.add(body)
    spool.ack(spool.epoch, 2)
    assert spool.drop() == (3, 5)
    spool.close()
    again = opened(tmp_path / "spool")
    (gap,) = [again.read(p) for p in again.pending()]
    assert json.loads(gap.payload) == {"from": 3, "to": 5, "reason": "dropped"}
    assert again.read(again.add(body)).seq == 6
    again.close()


def test_numbers_that_a_broker_took_are_not_used_again_after_drop(tmp_path: Path) -> None:
    """Without a collector nothing is declared lost then, and no record tells of them any more."""
    spool = opened(tmp_path / "spool")
    for _ in range(5):
        spool.confirm(spool.add(body))
    assert spool.drop() is None
    spool.close()
    again = opened(tmp_path / "spool")
    assert again.read(again.add(body)).seq == 6
    again.close()


def test_a_closed_spool_is_empty_for_whoever_still_holds_it(tmp_path: Path) -> None:
    """A delivery that hangs in the network comes back after the stop: it finds nothing, keeps the counter's name, and
    writes to no file, also not to one that has got the descriptor of a closed one."""
    spool = SharedSpool(lambda: opened(tmp_path / "spool"))
    positions = [p for _ in range(3) for p in spool.add(body)]
    epoch = spool.epoch
    spool.close()
    after = {path.name: path.read_bytes() for path in (tmp_path / "spool").iterdir()}
    assert (spool.epoch, spool.newest_seq, spool.trouble) == (epoch, 3, None)
    others = [(tmp_path / f"other{number}").open("wb") for number in range(8)]
    spool.confirm(positions[0])
    assert not spool.ack(epoch, 2)
    assert spool.backlog(0.0) == ([], [])
    assert [spool.read(position) for position in positions] == [None] * 3
    assert {path.name: path.read_bytes() for path in (tmp_path / "spool").iterdir()} == after
    for other in others:
        other.close()
        assert Path(other.name).stat().st_size == 0


def test_windows_that_no_broker_took_leave_no_memory_behind() -> None:
    """Without a broker, and dropped or acknowledged, they are forgotten whole: a device may be offline for months."""
    spool = SharedSpool(lambda: MemorySpool(cap=100))
    tracemalloc.start()
    for _ in range(2000):
        spool.add(body)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(5000):
        spool.add(body)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 5000 * 40


def test_memory_takes_over_what_a_failed_disk_had() -> None:
    """Rescued entries keep their epoch and number; new ones are counted in a new epoch."""
    old = Entry("window", "old", 7, b"{}")
    spool = MemorySpool({3: old})
    assert spool.read(3) == old
    fresh = spool.read(spool.add(body))
    assert (fresh.seq, fresh.epoch == "old") == (1, False)
    spool.ack("old", 7)
    assert spool.read(3) is None
