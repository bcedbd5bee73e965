"""File systems of a test's own: full, read-only, or an image that is copied while it is written."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def _run(*command: object) -> bool:
    return subprocess.run([str(c) for c in command], capture_output=True).returncode == 0


@contextmanager
def mounted(what: Path | str, where: Path, *options: str) -> Iterator[Path]:
    """Mount `what` ("tmpfs" or an image) at `where`; skips the test where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    where.mkdir(parents=True, exist_ok=True)
    kind = ["-t", "tmpfs"] if what == "tmpfs" else []
    if not _run("mount", *kind, "-o", ",".join(options), what, where):
        pytest.skip(f"mount {what} is not possible here")
    try:
        yield where
    finally:
        _run("umount", "-l", where)


def remount(where: Path, *options: str) -> None:
    """Change a mount's options."""
    assert _run("mount", "-o", "remount," + ",".join(options), where)


def fill(disk: Path) -> None:
    """Leave no room on it."""
    with (disk / "other").open("wb", buffering=0) as other, suppress(OSError):
        while other.write(b"x" * 4096):
            pass


def ext4_image(path: Path, size_mb: int = 16) -> Path:
    """A fresh ext4 file system in a file."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed (Debian package e2fsprogs)")
    with path.open("wb") as file:
        file.truncate(size_mb << 20)
    assert _run("mkfs.ext4", "-q", path)
    return path
