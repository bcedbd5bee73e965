"""A signed bundle as bytes: read from a folder or a server, checked before any of it is used, then written.

Law: the bytes that were checked are the bytes that are written. A bundle beside its SHA256SUMS has
SHA256SUMS.minisig, the signature of that file, which covers all others.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from agent.errors import ModelError
from agent.trust.files import sync
from agent.trust.minisign import Signed, check_signature
from agent.vision.model_card import EDGETPU, FILES, SUMS, Bundle

SIGNATURE: Final = SUMS + ".minisig"
LIMITS: Final = {"model.tflite": 256 << 20, EDGETPU: 256 << 20, "golden.npz": 64 << 20}
"""Largest file that is read, bytes; 1 MB for every other."""

Read = Callable[[str, int], bytes]
"""f(name, limit) → content of one file of the bundle; raises ModelError for a larger or missing one."""


@dataclass(frozen=True)
class SignedBundle:
    """Every file of a bundle whose signature and hashes fit."""

    files: Mapping[str, bytes]
    signed: Signed

    @property
    def digest(self) -> str:
        """SHA-256 of SHA256SUMS: names this bundle."""
        return hashlib.sha256(self.files[SUMS]).hexdigest()

    def write(self, folder: Path) -> None:
        """Write the bundle into `folder`, on the disk when this returns. Raises OSError."""
        folder.mkdir(mode=0o755)
        for name, content in self.files.items():
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync(folder)

    def load(self, source: Path) -> Bundle:
        """Return what these bytes, which came from `source`, are. Raises ModelError."""
        with TemporaryDirectory() as folder:
            copy = Path(folder) / (source.resolve().name or "bundle")  # "." has no name, ".." leads out
            self.write(copy)
            return replace(Bundle.load(copy), path=source)


def read_signed(read: Read, keys: Sequence[str], where: str) -> SignedBundle:
    """Read a bundle, the signature first. Raises ModelError."""
    sums = read(SUMS, _limit(SUMS))
    signature = read(SIGNATURE, _limit(SIGNATURE))
    signed = check_signature(sums, signature.decode("utf-8", "replace"), keys, f"{where}/{SIGNATURE}")
    files = {SUMS: sums, SIGNATURE: signature}
    for name, expected in _listed(sums, where).items():
        files[name] = read(name, _limit(name))
        if (got := hashlib.sha256(files[name]).hexdigest()) != expected:
            raise ModelError(f"{where}/{name}: expected SHA-256 {expected[:12]}…, got {got[:12]}…")
    return SignedBundle(files, signed)


def from_folder(folder: Path) -> Read:
    """Read the files of a bundle in `folder`."""

    def read(name: str, limit: int) -> bytes:
        try:
            with (folder / name).open("rb") as file:
                return _bounded(file, folder / name, limit)
        except OSError as cause:
            raise _unreadable(folder / name, cause) from cause

    return read


@contextmanager
def held(folder: Path) -> Iterator[Read]:
    """Read the files of a bundle in `folder` with the rights of now, also if they are given up before: its files are
    open from here on. They must lie in the folder itself: a link could lead root to somebody else's file, and a pipe
    would be waited for."""
    with ExitStack() as stack:
        found: dict[str, IO[bytes] | ModelError] = {}
        for name in (SUMS, SIGNATURE, *FILES, EDGETPU):
            try:
                handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as cause:
                found[name] = _unreadable(folder / name, cause)
            else:
                found[name] = stack.enter_context(os.fdopen(handle, "rb"))
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    found[name] = ModelError(f"{folder / name}: expected a file, got a pipe or a device")

        def read(name: str, limit: int) -> bytes:
            if isinstance(file := found[name], ModelError):
                raise file
            return _bounded(file, folder / name, limit)

        yield read


def _bounded(file: IO[bytes], path: Path, limit: int) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise ModelError(f"{path}: expected at most {limit} bytes")
    return content


def _unreadable(path: Path, cause: OSError) -> ModelError:
    if isinstance(cause, FileNotFoundError):
        hint = "the bundle is not signed" if path.name == SIGNATURE else "expected a signed model bundle"
        return ModelError(f"{path}: missing: {hint}")
    if cause.errno == errno.ELOOP:
        return ModelError(f"{path}: expected a file, got a link; copy what it leads to, e.g. with cp -rL")
    return ModelError(f"{path}: cannot be read ({cause.strerror})")


def _limit(name: str) -> int:
    return LIMITS.get(name, 1 << 20)


def _listed(sums: bytes, where: str) -> dict[str, str]:
    """Name → hash of SHA256SUMS; only names that a bundle may have, so none leads out of its folder."""
    listed = {}
    for line in sums.decode("ascii", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if name not in (*FILES, EDGETPU):
            raise ModelError(f"{where}/{SUMS}: expected the SHA-256 of one of {', '.join(FILES)}, got {line[:80]!r}")
        listed[name] = digest
    return listed
