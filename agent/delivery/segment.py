"""One file of the spool: its space is taken when it is made, records are appended and synced."""

import contextlib
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.delivery import frames
from agent.delivery.frames import Header, Record, Scan
from agent.errors import TryAgainError
from agent.trust.files import sync


class Segment:
    """A file with a fixed size. Any OSError of an append leaves it as it was, or torn at its end."""

    def __init__(self, path: Path, header: Header, scan: Scan) -> None:
        """Args: scan: what the file holds; `create` makes a new one."""
        self.path, self.header = path, header
        self._end = scan.end
        self._fd: int | None = None

    @classmethod
    def create(
        cls, folder: Path, header: Header, content: bytes = b"", ready: Callable[[], None] = lambda: None
    ) -> "Segment":
        """Make a file that holds `content`; it appears whole or not at all, in the place of one that has its name.

        Args: ready: called when all is written and synced, before it appears. Raises OSError.
        """
        path = folder / f"{header.number:012d}.log"
        making = path.with_suffix(".tmp")
        try:
            fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, header.size)
                os.pwrite(fd, frames.file_header(header) + content, 0)
                os.fsync(fd)
            finally:
                os.close(fd)
            ready()
            making.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                making.unlink()
            raise
        sync(folder)
        return cls(path, header, Scan((), frames.HEADER_BYTES + len(content), damaged=False, torn=False))

    def fits(self, length: int) -> bool:
        """Whether a payload of `length` bytes has room."""
        return self._end + frames.OVERHEAD + length <= self.header.size

    def append(self, kind: str, seq: int, payload: bytes) -> int:
        """Write and sync one record; return where its payload begins. Raises OSError."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        record = frames.frame(kind, seq, payload)
        try:
            if (written := os.pwrite(self._fd, record, self._end)) != len(record):
                raise OSError(f"{self.path}: wrote {written} of {len(record)} bytes")
            os.fdatasync(self._fd)
        except OSError:
            # It goes out under another number, from memory: a later start must not find it here, too.
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, bytes(len(record)), self._end)
            raise
        offset = self._end + frames.OVERHEAD
        self._end += len(record)
        return offset

    def read(self, offset: int, length: int) -> bytes | None:
        """A payload; None if the file cannot be read any more."""
        try:
            with open(self.path, "rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError:
            return None
        return data if len(data) == length else None

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def remove(self) -> None:
        """Delete the file. Raises OSError."""
        self.close()
        self.path.unlink()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry lies."""

    segment: Segment
    record: Record

    @property
    def kind(self) -> Literal["window", "gap"]:
        return self.record.kind

    @property
    def seq(self) -> int:
        return self.record.seq


def lock_folder(folder: Path) -> int:
    """Take the folder for this process. Raises TryAgainError while another one has it."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        mend = "stop it (systemctl stop fer-agent), or give each its own agent.state_dir"
        raise TryAgainError(f"{folder}: another fer-agent uses this spool; {mend}") from None
    return fd
