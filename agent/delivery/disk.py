"""The spool on disk: a window is synced before `add` returns, and stays until an ack covers it or the cap takes it.

A folder of files with a fixed size (`segment`), a head with the counter and the marks (`head`). One process at a
time, one thread. Every OSError of writing leaves: the caller decides (`shared` goes on in memory).
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal

from agent.delivery import age, frames, recover
from agent.delivery.frames import Header, Record
from agent.delivery.head import Head, Marks
from agent.delivery.memory import Build, Entry, gap_payload, new_epoch
from agent.delivery.payload import renumbered
from agent.delivery.recover import Found
from agent.delivery.segment import Place, Segment, lock_folder
from agent.trust.files import make_private

log = logging.getLogger("agent.delivery")

_SEGMENT: Final = 256 * 1024
"""Bytes of a file: about 300 windows. Small enough to be dropped as one, large enough to be rare."""
_SMALLEST: Final = 16 * 1024
_RESERVE: Final = 16
"""Numbers reserved at a time: the head is written once for so many windows, and so many are declared lost at most
where a tail was cut off."""
_RENUMBERED: Final = 500
"""Most windows that get a new number at once, each with its sync: seconds on a slow card, while the camera waits."""


class DiskSpool:
    """See `memory.Spool`. Open it by constructing it; `close` marks a clean stop."""

    def __init__(
        self, folder: Path, cap_bytes: int, cap_s: float, now: Callable[[], float | None] = lambda: None
    ) -> None:
        """Args:
            folder: made if missing.
            cap_bytes: most bytes on disk; the oldest file goes first.
            cap_s: oldest windows kept, seconds since their end, as far as a synchronised clock tells it.
            now: wall clock, seconds; None while it is not synchronised: then nothing is too old.

        Raises OSError if the folder cannot be written, TryAgainError while another process has it, ConfigError if a
        newer version made it.
        """
        make_private(folder)
        self._folder, self._cap_s, self._now = folder, cap_s, now
        self._lock = lock_folder(folder)
        self._size = max(_SMALLEST, min(_SEGMENT, cap_bytes // 4 // 4096 * 4096))
        self._most = max(2, cap_bytes // self._size)
        self._places: dict[int, Place] = {}
        self._next = self.newest_seq = 0
        self.trouble: str | None = None
        self._confirmed: set[int] = set()
        self._gaps: list[int] = []
        self._dropped: dict[int, Entry] = {}
        self._anew = False
        self._head = Head(folder / "head")
        found = recover.load(folder)
        self._segments = [one.segment for one in found]
        self._marks = self._first_marks(found)
        self._begin(found)

    # -- what every spool can do -----------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        return self._marks.epoch

    @property
    def acked(self) -> int | None:
        return self._marks.acked

    @property
    def size(self) -> int:
        return sum(s.header.size for s in self._segments)

    def add(self, build: Build) -> int:
        """Keep a new window, on disk and synced when this returns. Raises OSError; then it is not kept."""
        seq = self.newest_seq + 1
        if seq > self._marks.reserved:
            self._write_head(clean=False, reserved=seq + _RESERVE - 1)
        payload = build(self.epoch, seq)
        position = self._append("window", seq, payload)
        self.newest_seq = seq
        return position

    def add_gap(self, first: int, last: int, reason: str) -> int:
        return self._append("gap", max(last, self.newest_seq), gap_payload(first, last, reason))

    def read(self, position: int) -> Entry | None:
        place = self._places.get(position)
        if place is None:
            return self._dropped.get(position)
        payload = place.segment.read(place.record.offset, place.record.length)
        return None if payload is None else Entry(place.kind, place.segment.header.epoch, place.seq, payload)

    def pending(self) -> list[int]:
        return [*self._dropped, *self._places]

    def find(self, first: int, last: int) -> dict[int, int]:
        told, epoch = dict[int, int](), self.epoch
        for position, place in self._places.items():
            if place.segment.header.epoch != epoch:
                continue
            if place.record.kind == "gap":
                begin, end = recover.numbers(place.segment, place.record)
                told |= dict.fromkeys(range(max(first, begin), min(last, end) + 1), position)
            elif first <= place.record.seq <= last:
                told[place.record.seq] = position
        return dict(sorted(told.items()))

    def ack(self, epoch: str, upto: int) -> bool:
        if epoch == self.epoch:
            if upto > self.newest_seq:
                return self._begin_anew(upto)
            self._marks = replace(self._marks, acked=max(upto, self._marks.acked or 0))
        done = []
        for position, place in self._places.items():  # in the order of writing, so the first newer one ends it
            if place.segment.header.epoch == epoch:
                if place.seq > upto:
                    break
                done.append(position)
        self._forget(done)
        self._remove_empty()
        return False

    def drop(self) -> tuple[int, int] | None:
        """Give up all that is kept; the numbers that were declared lost for it, if any. Raises OSError."""
        self._grow()
        given_up = [self._inside(segment) for segment in self._segments[:-1]]
        lost = None
        for inside in given_up:
            lost = recover.join(lost, self._loss(inside))
        self._declare(lost, "dropped")  # first: killed after the last one is gone, nothing would tell of their numbers
        for inside in given_up:
            self._remove_oldest(inside)
        return lost

    def confirm(self, position: int) -> None:
        if position in self._places:
            self._confirmed.add(position)

    def confirmed(self, position: int) -> bool:
        place = self._places.get(position)
        old = place is not None and place.segment.header.epoch == self.epoch and place.seq <= self._marks.confirmed
        return old or position in self._confirmed

    def new_gaps(self) -> list[int]:
        gaps, self._gaps = self._gaps, []
        return gaps

    def close(self) -> None:
        """Mark a clean stop. Raises nothing: a stop that cannot be marked looks like a crash, and is declared."""
        try:
            self._write_head(clean=True)
        except OSError as error:
            log.warning("event=spool.not_marked_clean reason=%r", str(error))
        self.release()

    def release(self) -> None:
        """Let go of files and lock without marking anything."""
        with contextlib.suppress(OSError):
            self._head.close()
            for segment in self._segments:
                segment.close()
            os.close(self._lock)

    # -- start -----------------------------------------------------------------------------------------------

    def _first_marks(self, found: list[Found]) -> Marks:
        """The head's marks; without them the counter is lost, and a new epoch begins."""
        if self._head.marks is not None:
            return self._head.marks
        if found:
            log.error("event=spool.head_lost a new epoch begins")
        return Marks(new_epoch(), clean=True)

    def _begin(self, found: list[Found]) -> None:
        """Index what is there, declare what is lost, and be ready to append."""
        fresh = self._head.marks is None
        self.newest_seq, losses = (0, []) if fresh else recover.losses(self._marks, found)
        acked = self._marks.acked or 0
        for one in found:
            for r in one.records:
                if one.segment.header.epoch != self.epoch or r.seq > acked:
                    self._index(Place(one.segment, r))
        self._write_head(clean=False, reserved=max(self._marks.reserved, self.newest_seq) + _RESERVE)
        if not self._segments or fresh or found[-1].segment.header.epoch != self.epoch:
            self._grow()
        for loss in losses:
            log.warning("event=spool.gap from=%d to=%d reason=%s", loss.first, loss.last, loss.reason)
            self.add_gap(loss.first, loss.last, loss.reason)
        recover.told(self._folder)
        self._remove_empty()
        self._drop_old()
        self._first = self._next

    def _begin_anew(self, upto: int) -> bool:
        """A collector has numbers that this spool never gave: the folder came from a backup, and what comes next would
        be taken for what the collector has. A new epoch begins, with the windows of this run; earlier ones keep their
        numbers, for the collector may have these very windows.

        Once a run: of an epoch so new nobody can honestly acknowledge more than was used.
        """
        if self._anew:
            log.warning("event=spool.bad_ack upto=%d newest=%d", upto, self.newest_seq)
            return False
        why = "a new epoch begins: is this a restored card?"
        log.error("event=spool.numbers_used_before upto=%d newest=%d %s", upto, self.newest_seq, why)
        mine = [p for p, place in self._places.items() if p >= self._first and place.kind == "window"]
        self._anew, self._marks, self.newest_seq = True, Marks(new_epoch()), 0
        self._write_head(clean=False, reserved=_RESERVE)
        self._grow()
        for position in mine[-_RENUMBERED:]:
            if (entry := self.read(position)) is not None:  # a full disk may have taken it just now
                self.add(partial(renumbered, entry.payload))
                self._forget([position])
        return True

    # -- writing ---------------------------------------------------------------------------------------------

    def _append(self, kind: Literal["window", "gap"], seq: int, payload: bytes) -> int:
        if not self._segments[-1].fits(len(payload)):
            self._grow()
            self._drop_old()
        segment = self._segments[-1]
        offset = segment.append(kind, seq, payload)
        return self._index(Place(segment, Record(kind, seq, offset, len(payload))))

    def _index(self, place: Place) -> int:
        position, self._next = self._next, self._next + 1
        self._places[position] = place
        return position

    def _grow(self) -> None:
        """Begin a new file; on a full disk the oldest ones give as much room as it takes.

        Raises OSError if that does not help (snapshots keep what is deleted, another program takes the room): then
        `read` still has what was in them, so that it can be rescued.
        """
        number = 1 + (self._segments[-1].header.number if self._segments else 0)
        header = Header(frames.VERSION, self.epoch, number, self._size)
        lost, freed = None, 0
        while True:
            try:
                made = Segment.create(self._folder, header)
                break
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not full or freed >= self._size or not self._segments:
                    raise
                self.trouble = "disk full: the oldest windows are dropped"
                freed += self._segments[0].header.size
                inside = self._inside(self._segments[0])
                self._dropped |= {p: entry for p, _ in inside if (entry := self.read(p)) is not None}
                lost = recover.join(lost, self._drop_oldest())
        self._dropped.clear()
        if lost is None:
            self.trouble = None
        if self._segments:
            self._segments[-1].close()
        self._segments.append(made)
        self._declare(lost, "disk_full")

    def _inside(self, segment: Segment) -> list[tuple[int, Place]]:
        return [(position, place) for position, place in self._places.items() if place.segment is segment]

    def _drop_old(self) -> None:
        """Drop the oldest files while there are too many, or they are too old."""
        lost = None
        while len(self._segments) > self._most:
            lost = recover.join(lost, self._drop_oldest())
        self._declare(lost, "cap")
        lost = None
        now = self._now()
        for _ in range(0 if now is None else age.too_old(self._segments, self._places.values(), now - self._cap_s)):
            lost = recover.join(lost, self._drop_oldest())
        self._declare(lost, "age")

    def _declare(self, lost: tuple[int, int] | None, reason: str) -> None:
        if lost is not None:
            log.warning("event=spool.gap from=%d to=%d reason=%s", *lost, reason)
            self._gaps.append(self.add_gap(*lost, reason))

    def _drop_oldest(self) -> tuple[int, int] | None:
        """Remove the oldest file; the numbers of this epoch that are lost with it, if any."""
        inside = self._inside(self._segments[0])
        lost = self._loss(inside)
        self._remove_oldest(inside)
        return lost

    def _remove_oldest(self, inside: list[tuple[int, Place]]) -> None:
        """Remove the oldest file and forget what is `inside` it."""
        oldest = self._segments.pop(0)
        if len(inside) > 0 and self.acked is None:
            self._write_head(clean=False)
        self._forget([position for position, _ in inside])
        oldest.remove()

    def _loss(self, inside: list[tuple[int, Place]]) -> tuple[int, int] | None:
        """The numbers of this epoch that are lost with these records, if any."""
        lost = None
        for position, place in inside:
            if place.segment.header.epoch == self.epoch and not self._taken(position):
                lost = recover.join(lost, recover.numbers(place.segment, place.record))
        return lost

    def _taken(self, position: int) -> bool:
        """Where no collector ever acknowledged, a PUBACK is all there will ever be."""
        return self.acked is None and self.confirmed(position)

    def _remove_empty(self) -> None:
        """Delete the oldest files that hold nothing any more; never the one that is written."""
        used = {id(place.segment) for place in self._places.values()}
        empty = list(takewhile(lambda segment: id(segment) not in used, self._segments[:-1]))
        if empty:
            self._write_head(clean=False)  # first: what is gone without a mark would be declared lost
        for _ in empty:
            self._segments.pop(0).remove()

    def _forget(self, positions: list[int]) -> None:
        for position in positions:
            del self._places[position]
            self._confirmed.discard(position)

    def _write_head(self, *, clean: bool, reserved: int | None = None) -> None:
        confirmed = self._marks.confirmed
        for position, place in self._places.items():
            if place.segment.header.epoch == self.epoch and place.seq > confirmed:
                if position not in self._confirmed:
                    break
                confirmed = place.seq
        reserved = self._marks.reserved if reserved is None else reserved
        self._marks = replace(self._marks, reserved=reserved, confirmed=confirmed, clean=clean)
        self._head.write(self._marks)
