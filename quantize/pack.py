"""Write a bundle folder: it appears whole or not at all."""

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agent.errors import CannotWriteError
from agent.trust.files import sync
from agent.trust.signed_bundle import SIGNATURE
from agent.vision.card import Card
from agent.vision.model_card import EDGETPU, SUMS, Bundle, Goldens, read_checked, sums


def write(out: Path, card: Card, model: bytes, golden: Goldens, *, force: bool = False) -> Bundle:
    """Write the bundle to `out`, read it back as the agent does, and return it.

    Files go to a folder beside it, are flushed to disk, checked, and renamed; `force` replaces a bundle that is there.

    Raises
    ------
    CannotWriteError
        `out` is there already and `force` is not set, or the disk refuses
    """
    refuse_existing(out, force)
    return _put(out, {"model.tflite": model, "card.json": _json(card), "golden.npz": _npz(golden)})


def add(path: Path, compiled: bytes) -> Bundle:
    """Put `compiled`, the network for the Edge TPU, into the bundle `path`, in place of one that is there; return it.

    A signature is left out: it is of another SHA256SUMS. Other files in the folder stay.

    Raises
    ------
    ModelError
        `path` is no bundle, or a byte of it was changed
    CannotWriteError
        the disk refuses
    """
    files = {**read_checked(path), EDGETPU: compiled}
    others = [p for p in sorted(path.iterdir()) if p.name not in {*files, SUMS, SIGNATURE}]
    return _put(path, files, others)


def _put(out: Path, files: dict[str, bytes], others: Sequence[Path] = ()) -> Bundle:
    """Write `files` with their SHA256SUMS, and copies of `others`, as the bundle `out`, whole or not at all."""
    out = out.resolve()  # a link to a bundle stays one
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in {**files, SUMS: sums(files).encode()}.items():
            _write(partial / name, content)
        for path in others:
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, partial / path.name)
        sync(partial)
        Bundle.load(partial)
        _swap(partial, out)
    except OSError as cause:
        raise CannotWriteError(f"{out}: cannot be written: {cause.strerror or cause}") from cause
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Bundle.load(out)


def refuse_existing(out: Path, force: bool) -> None:
    """Raise CannotWriteError if `out` is there and is not a bundle, or `force` is not set; or if it cannot be made."""
    if not out.exists():
        above = next(folder for folder in out.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise CannotWriteError(f"{out}: expected a folder to write to, got {above}")
        return
    if not force:
        raise CannotWriteError(f"{out}: is there already; add --force to replace it, or name another folder")
    if not (out / SUMS).is_file():
        raise CannotWriteError(f"{out}: is there and is no bundle (no {SUMS}); name another folder")


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` by a temporary file, flush and rename."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        _write(partial, content)
        partial.replace(path)
    except OSError as cause:
        partial.unlink(missing_ok=True)
        raise CannotWriteError(f"{path}: cannot be written: {cause.strerror or cause}") from cause


def _swap(partial: Path, out: Path) -> None:
    """Rename `partial` to `out`; a bundle that is there steps aside first, since a folder cannot replace a folder."""
    aside = out.with_name(f".{out.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    if out.exists():
        out.rename(aside)
    try:
        partial.rename(out)
    except OSError:
        if aside.exists():
            aside.rename(out)
        raise
    sync(out.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _json(card: Card) -> bytes:
    return (card.model_dump_json(indent=1) + "\n").encode()


def _npz(golden: Goldens) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, faces=golden.faces, reference=golden.reference, default=golden.default)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
