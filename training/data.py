"""FER2013 + FERPlus, in either published layout, as arrays; decoded once and cached outside the repo.

Layouts, found by their files:
- folder: DIR/FER2013Train|FER2013Valid|FER2013Test/label.csv + PNG files (the edition that papers used)
- csv: DIR/fer2013.csv + DIR/fer2013new.csv, rows aligned (the other edition of the votes)
"""

import csv
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final, Literal

import click
import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from agent.emotions import FERPLUS_COLUMNS
from agent.errors import InputError
from training import cache, protocol

SIDE: Final = 48
"""Side of a FER2013 face, pixels."""

SPLITS: Final = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
"""Our split names → FER2013's `Usage`."""

FOLDERS: Final = {"train": "FER2013Train", "validation": "FER2013Valid", "test": "FER2013Test"}

CACHE_VERSION: Final = 1
"""Raise when what is cached changes."""


@dataclass(frozen=True)
class Split:
    """One official split, in file order."""

    faces: npt.NDArray[np.uint8]
    """(n, 48, 48) grey levels 0-255."""
    votes: npt.NDArray[np.int64]
    """(n, 10) annotator votes, columns as `FERPLUS_COLUMNS`."""
    fer2013: npt.NDArray[np.int64] | None
    """(n,) original FER2013 label 0-6, or None (the folder layout has none)."""


@dataclass(frozen=True)
class Dataset:
    """The three official splits of one edition."""

    edition: Literal["label.csv", "fer2013new.csv"]
    train: Split
    validation: Split
    test: Split


def load(directory: Path) -> Dataset:
    """Return the dataset in `directory`; the first call decodes, later ones read the cache.

    Raises
    ------
    InputError
        no known layout, a split without a face, a wrong column, a pixel row of the wrong length, or CSVs that do
        not align; the message names file and row
    """
    folders = [directory / name for name in FOLDERS.values()]
    pair = [directory / "fer2013.csv", directory / "fer2013new.csv"]
    if all((folder / "label.csv").is_file() for folder in folders):
        files = [file for folder in folders for file in sorted(os.scandir(folder), key=lambda entry: entry.name)]
        return _cached(directory, files, "label.csv", lambda: _read_folders(directory))
    if all(path.is_file() for path in pair):
        return _cached(directory, pair, "fer2013new.csv", lambda: _read_csvs(*pair))
    present = sorted(path.name for path in directory.iterdir())[:5] if directory.is_dir() else "no such directory"
    raise InputError(
        f"{directory}: expected fer2013.csv + fer2013new.csv, or {', '.join(FOLDERS.values())} with label.csv "
        f"in each, got {present}"
    )


def digest(*arrays: npt.NDArray[np.generic]) -> str:
    """Return the SHA-256 of faces, votes and the like, one after the other."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()


def usable(split: Split, faces: Literal["majority", "all"]) -> npt.NDArray[np.bool_]:
    """Return which faces to train on, (n,).

    "majority" keeps what the protocol keeps; "all" adds ambiguous faces whose top vote is an emotion.
    """
    kept, _ = protocol.majority(split.votes) if faces == "majority" else protocol.argmax(split.votes)
    return np.asarray(kept & (protocol.distribution(split.votes).sum(axis=1) > 0))


def soft_targets(
    split: Split, faces: Literal["majority", "all"]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return (faces (m, 48, 48), vote distributions (m, 8)) to train on; `faces` as in `usable`."""
    kept = usable(split, faces)
    return split.faces[kept], protocol.distribution(split.votes)[kept]


def _cached(
    directory: Path,
    sources: Sequence[Path | os.DirEntry[str]],
    edition: Literal["label.csv", "fer2013new.csv"],
    read: Callable[[], dict[str, Split]],
) -> Dataset:
    # Every start waits for this: one look at each of 35,000 files.
    looks = ((source.name, source.stat()) for source in sources)
    stamp = [str(directory.resolve()), *((name, look.st_size, look.st_mtime_ns) for name, look in looks)]
    key = hashlib.sha256(repr((CACHE_VERSION, stamp)).encode()).hexdigest()[:16]
    path = cache.folder() / f"ferplus-{key}.npz"
    splits = _stored(path)
    if splits is None:
        splits = read()
        _store(path, splits)
    return Dataset(edition=edition, **splits)


def _stored(path: Path) -> dict[str, Split] | None:
    """Return the splits in the cache file `path`; None, to decode again, where it is missing, damaged or lacks one."""
    try:
        with np.load(path) as stored:
            return {name: _from_arrays(name, stored) for name in SPLITS}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _store(path: Path, splits: Mapping[str, Split]) -> None:
    """Write the cache file `path`; where that is not possible, say so: the next start decodes again."""
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **{k: v for name, split in splits.items() for k, v in _to_arrays(name, split)})
        temporary.replace(path)
    except OSError as cause:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        click.echo(f"{path.parent}: no cache, the next start decodes again: {cause.strerror or cause}", err=True)


def _to_arrays(name: str, split: Split) -> Iterator[tuple[str, npt.NDArray]]:
    yield f"{name}_faces", split.faces
    yield f"{name}_votes", split.votes
    if split.fer2013 is not None:
        yield f"{name}_fer2013", split.fer2013


def _from_arrays(name: str, stored: Mapping[str, npt.NDArray]) -> Split:
    return Split(stored[f"{name}_faces"], stored[f"{name}_votes"], stored.get(f"{name}_fer2013"))


def _votes(cells: list[str], where: str) -> list[int]:
    """Return ten vote counts, or say which row is wrong."""
    if len(cells) != len(FERPLUS_COLUMNS) or not all(c.strip().isdecimal() for c in cells):
        raise InputError(f"{where}: expected {len(FERPLUS_COLUMNS)} vote counts, got {cells}")
    return [int(c) for c in cells]


@contextmanager
def _readable(name: Path | str) -> Iterator[None]:
    """Within: bytes of `name` that are no UTF-8, or no CSV, raise InputError."""
    try:
        yield
    except (UnicodeDecodeError, csv.Error) as cause:
        raise InputError(f"{name}: expected a CSV file in UTF-8, got {type(cause).__name__}: {cause}") from cause


def _read_folders(directory: Path) -> dict[str, Split]:
    splits = {}
    for name, folder in FOLDERS.items():
        path = directory / folder / "label.csv"
        with _readable(path), open(path, newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
        if not rows:
            raise InputError(f"{path}: expected a row a face, got an empty file")
        faces, votes, seen = [], [], dict[str, int]()
        for number, row in tqdm(rows, desc=f"reading {folder}", unit="face", disable=None):
            where = f"{path}:{number}"
            if seen.setdefault(row[0], number) != number:  # it would count twice in every score
                raise InputError(f"{where}: expected each face once, got {row[0]} as in line {seen[row[0]]}")
            votes.append(_votes(row[2:], where))
            faces.append(_read_image(directory / folder / row[0], where))
        splits[name] = Split(np.stack(faces), np.array(votes), None)
    return splits


def _read_image(path: Path, where: str) -> npt.NDArray[np.uint8]:
    face = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if face is None:
        raise InputError(f"{where}: {path.name} is missing or no image")
    if face.shape != (SIDE, SIDE):
        raise InputError(f"{where}: expected a {SIDE}x{SIDE} face, got {face.shape} in {path.name}")
    return face.astype(np.uint8, copy=False)


def _read_csvs(pixels_path: Path, votes_path: Path) -> dict[str, Split]:
    """Return the splits of the CSV layout; the two files must have the same rows in the same order."""
    faces: dict[str, list] = {usage: [] for usage in SPLITS.values()}
    votes: dict[str, list] = {usage: [] for usage in SPLITS.values()}
    labels: dict[str, list] = {usage: [] for usage in SPLITS.values()}
    with (
        _readable(f"{pixels_path} or {votes_path.name}"),
        open(pixels_path, newline="", encoding="utf-8-sig") as a,
        open(votes_path, newline="", encoding="utf-8-sig") as b,
    ):
        pixel_rows, vote_rows = csv.DictReader(a), csv.DictReader(b)
        _expect_columns(pixel_rows, {"emotion", "pixels", "Usage"}, pixels_path)
        _expect_columns(vote_rows, {"Usage", "Image name", *FERPLUS_COLUMNS}, votes_path)
        pairs = zip_longest(tqdm(pixel_rows, desc=f"reading {pixels_path.name}", unit="face", disable=None), vote_rows)
        for number, (pixel, vote) in enumerate(pairs, 2):
            if pixel is None or vote is None:
                more = (votes_path if pixel is None else pixels_path).name
                raise InputError(f"{pixels_path} and {votes_path.name} do not align: {more} has more rows")
            usage = pixel["Usage"]
            if usage not in faces or usage != vote["Usage"]:
                raise InputError(
                    f"{votes_path}:{number}: rows do not align: Usage is {vote['Usage']!r} here and "
                    f"{usage!r} in {pixels_path.name}"
                )
            if not vote["Image name"] and None not in vote.values():
                continue  # FERPlus names no image where FER2013's row is not a face; a row cut short has no votes
            faces[usage].append(_pixels(pixel["pixels"] or "", f"{pixels_path}:{number}"))
            votes[usage].append(_votes([vote[c] or "" for c in FERPLUS_COLUMNS], f"{votes_path}:{number}"))
            labels[usage].append(_fer2013_label(pixel["emotion"], f"{pixels_path}:{number}"))
    for usage, found in faces.items():
        if not found:
            raise InputError(f"{pixels_path}: expected faces with Usage {usage}, got none")
    return {n: Split(np.stack(faces[u]), np.array(votes[u]), np.array(labels[u])) for n, u in SPLITS.items()}


def _expect_columns(reader: csv.DictReader, wanted: set[str], path: Path) -> None:
    got = set(reader.fieldnames or [])
    if not wanted <= got:
        raise InputError(f"{path}:1: expected columns {sorted(wanted)}, missing {sorted(wanted - got)}")


def _fer2013_label(cell: str, where: str) -> int:
    if cell not in {"0", "1", "2", "3", "4", "5", "6"}:
        raise InputError(f"{where}: expected a FER2013 emotion 0-6, got {cell!r}")
    return int(cell)


def _pixels(text: str, where: str) -> npt.NDArray[np.uint8]:
    try:
        values = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError) as cause:
        raise InputError(f"{where}: expected {SIDE * SIDE} grey levels, got {text[:20]!r}…") from cause
    if values.size != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        raise InputError(f"{where}: expected {SIDE * SIDE} grey levels 0-255, got {values.size} values")
    return values.astype(np.uint8).reshape(SIDE, SIDE)


def head(dataset: Dataset, n: int | None) -> Dataset:
    """Return the first `n` faces of each split; all for None."""

    def cut(split: Split) -> Split:
        return Split(split.faces[:n], split.votes[:n], None if split.fer2013 is None else split.fer2013[:n])

    return Dataset(dataset.edition, cut(dataset.train), cut(dataset.validation), cut(dataset.test))


def some(split: Split, n: int) -> npt.NDArray[np.uint8]:
    """Return `n` faces (n, 48, 48) of `split` as they come, whatever their class; all where there are fewer."""
    return split.faces[np.random.default_rng(1).permutation(len(split.faces))[:n]]
