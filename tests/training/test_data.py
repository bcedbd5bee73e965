"""FER2013 + FERPlus from disk: both layouts, their counts, and one line for what is wrong with them."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.errors import InputError
from tests.training.conftest import write_csvs, write_folders
from training import data, protocol


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small sets of this file are decoded into a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def same(a: data.Split, b: data.Split) -> bool:
    return np.array_equal(a.faces, b.faces) and np.array_equal(a.votes, b.votes)


@pytest.mark.parametrize(("write", "edition"), [(write_csvs, "fer2013new.csv"), (write_folders, "label.csv")])
def test_either_layout_gives_faces_and_votes_in_file_order(
    write: Callable[[Path, data.Dataset], Path], edition: str, tiny: data.Dataset, tmp_path: Path
) -> None:
    """A layout is found by its files, and what was written comes back."""
    found = data.load(write(tmp_path / "set", tiny))
    assert found.edition == edition
    assert all(same(getattr(found, name), getattr(tiny, name)) for name in data.SPLITS)


def test_the_csv_layout_keeps_the_fer2013_label(tiny: data.Dataset, tiny_dir: Path) -> None:
    """The original label is there for the comparison with FERPlus."""
    assert np.array_equal(data.load(tiny_dir).train.fer2013, tiny.train.fer2013)


def test_the_second_call_reads_the_cache(tiny: data.Dataset, tmp_path: Path) -> None:
    """Once decoded, the pictures are not opened again; the cache lies outside the data's folder."""
    folder = write_folders(tmp_path / "set", tiny)
    before = data.load(folder)
    for path in folder.rglob("*.png"):
        was = path.stat()
        path.write_bytes(b"?" * was.st_size)
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert same(data.load(folder).train, before.train)
    assert [p.suffix for p in (tmp_path / "cache" / "fer-agent").iterdir()] == [".npz"]


def test_another_label_file_is_not_answered_from_the_cache(tiny: data.Dataset, tmp_path: Path) -> None:
    """A changed label.csv is read again."""
    folder = write_folders(tmp_path / "set", tiny)
    data.load(folder)
    labels = folder / "FER2013Train" / "label.csv"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:50]))
    assert len(data.load(folder).train.faces) == 50


def test_other_pictures_are_not_answered_from_the_cache(tiny: data.Dataset, tmp_path: Path) -> None:
    """Pictures that were replaced are decoded again, though the labels are the same."""
    folder = write_folders(tmp_path / "set", tiny)
    data.load(folder)
    picture = next(path for path in sorted((folder / "FER2013Train").iterdir()) if path.suffix == ".png")
    cv2.imwrite(str(picture), np.full((48, 48), 7, np.uint8))
    assert (data.load(folder).train.faces[0] == 7).all()


@pytest.mark.parametrize("added", [b"\xff\xfe\n", b'"' + b"1" * 200_000], ids=["bytes", "quote"])
@pytest.mark.parametrize(("write", "name"), [(write_csvs, "fer2013new.csv"), (write_folders, "FER2013Valid/label.csv")])
def test_a_file_that_is_no_csv_is_named(
    write: Callable[[Path, data.Dataset], Path], name: str, added: bytes, tiny: data.Dataset, tmp_path: Path
) -> None:
    """Bytes that are no UTF-8, or a quote that nothing closes: one line with the file."""
    path = write(tmp_path / "set", tiny) / name
    path.write_bytes(path.read_bytes() + added)
    with pytest.raises(InputError, match=f"{path.name}: expected a CSV file in UTF-8"):
        data.load(tmp_path / "set")


def test_an_empty_folder_is_told_what_was_expected(tmp_path: Path) -> None:
    """Both layouts are named."""
    with pytest.raises(InputError, match=r"fer2013.csv \+ fer2013new.csv, or FER2013Train.*label.csv"):
        data.load(tmp_path)


def change(path: Path, row: int, old: str, new: str) -> None:
    """Replace `old` by `new` in the 1-based `row` of a text file."""
    lines = path.read_text().splitlines(keepends=True)
    assert old in lines[row - 1]
    lines[row - 1] = lines[row - 1].replace(old, new, 1)
    path.write_text("".join(lines))


@pytest.mark.parametrize(
    ("name", "row", "old", "new", "says"),
    [
        ("fer2013.csv", 1, "pixels", "pixel", r"fer2013.csv:1: expected columns .*missing \['pixels'\]"),
        ("fer2013new.csv", 1, "contempt", "scorn", r"fer2013new.csv:1: expected columns .*missing \['contempt'\]"),
        ("fer2013.csv", 7, " ", " 300 ", r"fer2013.csv:7: expected 2304 grey levels 0-255, got 2305 values"),
        ("fer2013.csv", 7, " ", " x", r"fer2013.csv:7: expected 2304 grey levels"),
        ("fer2013.csv", 3, "1,", "9,", r"fer2013.csv:3: expected a FER2013 emotion 0-6, got '9'"),
        ("fer2013new.csv", 5, "Training", "PublicTest", r"fer2013new.csv:5: rows do not align"),
        ("fer2013new.csv", 4, ",0,", ",many,", r"fer2013new.csv:4: expected 10 vote counts"),
    ],
)
def test_a_bad_csv_row_is_named(
    name: str, row: int, old: str, new: str, says: str, tiny_dir: Path, tmp_path: Path
) -> None:
    """Wrong column, pixel count, grey level, label, votes, or rows that do not align: file and row, in one line."""
    folder = Path(shutil.copytree(tiny_dir, tmp_path / "set"))
    change(folder / name, row, old, new)
    with pytest.raises(InputError, match=says) as caught:
        data.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("usage", ["Training", "PublicTest", "PrivateTest"])
def test_a_split_without_a_face_is_named_each_time(usage: str, tiny_dir: Path, tmp_path: Path) -> None:
    """Both files lack its rows; the second call is refused as the first, not answered from the cache."""
    folder = Path(shutil.copytree(tiny_dir, tmp_path / "set"))
    for name in ("fer2013.csv", "fer2013new.csv"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if usage not in line))
    for _ in range(2):
        with pytest.raises(InputError, match=f"fer2013.csv: expected faces with Usage {usage}, got none"):
            data.load(folder)


def test_an_empty_label_file_is_named(tiny: data.Dataset, tmp_path: Path) -> None:
    """It is there, so the layout is found, but holds no row."""
    folder = write_folders(tmp_path / "set", tiny)
    (folder / "FER2013Valid" / "label.csv").write_text("")
    with pytest.raises(InputError, match=r"FER2013Valid/label.csv: expected a row a face, got an empty file"):
        data.load(folder)


def test_a_face_that_is_there_twice_is_named(tiny: data.Dataset, tmp_path: Path) -> None:
    """Two label files put together: each face of both would count twice."""
    folder = write_folders(tmp_path / "set", tiny)
    labels = folder / "FER2013Valid" / "label.csv"
    rows = labels.read_text().splitlines()
    labels.write_text("\n".join([*rows, rows[2]]))
    name = rows[2].partition(",")[0]
    with pytest.raises(InputError, match=rf"label.csv:{len(rows) + 1}: expected each face once, got {name} .* line 3"):
        data.load(folder)


def test_a_damaged_cache_is_decoded_again(tiny: data.Dataset, tmp_path: Path) -> None:
    """Cut short, as a full disk or a kill of an older version left it."""
    folder = write_folders(tmp_path / "set", tiny)
    data.load(folder)
    (cached,) = (tmp_path / "cache" / "fer-agent").iterdir()
    cached.write_bytes(cached.read_bytes()[:5000])
    assert same(data.load(folder).train, tiny.train)


def test_csvs_of_different_length_are_refused(tiny_dir: Path, tmp_path: Path) -> None:
    """Votes for one face more than there are pictures."""
    folder = Path(shutil.copytree(tiny_dir, tmp_path / "set"))
    votes = folder / "fer2013new.csv"
    votes.write_text(votes.read_text() + "PrivateTest,more.png,0,10,0,0,0,0,0,0,0,0\n")
    with pytest.raises(InputError, match=r"do not align: fer2013new\.csv has more rows"):
        data.load(folder)


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013new.csv"])
def test_a_row_that_is_missing_moves_no_votes(name: str, tiny_dir: Path, tmp_path: Path) -> None:
    """One row fewer in the last split, where no later change of Usage shows it: every face after it would have its
    neighbour's votes."""
    folder = Path(shutil.copytree(tiny_dir, tmp_path / "set"))
    lines = (folder / name).read_text().splitlines(keepends=True)
    (folder / name).write_text("".join([*lines[:-10], *lines[-9:]]))
    with pytest.raises(InputError, match=r"do not align: .* has more rows"):
        data.load(folder)


def test_what_excel_saves_is_read(tiny: data.Dataset, tmp_path: Path) -> None:
    """A byte order mark at the start, an empty line at the end."""
    for write in (write_csvs, write_folders):
        folder = write(tmp_path / write.__name__, tiny)
        for path in folder.rglob("*.csv"):
            path.write_text("\ufeff" + path.read_text() + "\n", encoding="utf-8")
        assert same(data.load(folder).train, tiny.train)


def test_without_a_cache_it_decodes_each_time(
    tiny: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A home that cannot be written to is said, and is no error."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert same(data.load(write_folders(tmp_path / "set", tiny)).train, tiny.train)
    assert "no cache, the next start decodes again: Not a directory" in capsys.readouterr().err


def test_a_row_without_an_image_name_is_left_out(tiny_dir: Path, tmp_path: Path) -> None:
    """FERPlus names no image where FER2013's row shows no face."""
    folder = Path(shutil.copytree(tiny_dir, tmp_path / "set"))
    change(folder / "fer2013new.csv", 2, "fer0.png", "")
    assert len(data.load(folder).train.faces) == 95


@pytest.mark.parametrize("left", ["PrivateTest", "PrivateTest,"])
def test_a_row_that_is_cut_short_is_named(left: str, tiny_dir: Path, tmp_path: Path) -> None:
    """A file that ends early, in its last row, before the votes: its face was left out without a word."""
    folder = Path(shutil.copytree(tiny_dir, tmp_path / "set"))
    votes = folder / "fer2013new.csv"
    votes.write_text("".join([*votes.read_text().splitlines(keepends=True)[:-1], left]))
    with pytest.raises(InputError, match=r"fer2013new\.csv:146: expected 10 vote counts"):
        data.load(folder)


@pytest.mark.parametrize(("side", "says"), [(None, "is missing or no image"), (40, r"expected a 48x48 face, got \(40")])
def test_a_bad_picture_is_named(side: int | None, says: str, tiny: data.Dataset, tmp_path: Path) -> None:
    """A missing picture, or one of another size: the row of label.csv that names it."""
    folder = write_folders(tmp_path / "set", tiny)
    picture = folder / "FER2013Valid" / "f3.png"
    picture.unlink()
    if side:
        cv2.imwrite(str(picture), np.zeros((side, side), np.uint8))
    with pytest.raises(InputError, match=r"FER2013Valid/label.csv:4: .*" + says):
        data.load(folder)


def test_a_face_without_an_emotion_vote_is_never_trained_on(tiny: data.Dataset) -> None:
    """Its target would be a row of zeros."""
    votes = tiny.train.votes.copy()
    votes[0] = [0, 0, 0, 0, 0, 0, 0, 0, 10, 0]
    faces, target = data.soft_targets(dataclasses.replace(tiny.train, votes=votes), "all")
    assert len(faces) == 95
    assert np.allclose(target.sum(axis=1), 1)


REAL = {
    "label.csv": {
        "train": [8733, 7284, 3136, 3022, 2098, 116, 536, 120],
        "validation": [1180, 862, 411, 348, 289, 25, 60, 16],
        "test": [1083, 892, 394, 382, 269, 16, 86, 15],
    },
    "fer2013new.csv": {
        "train": [8739, 7287, 3149, 3013, 2099, 119, 532, 119],
        "validation": [1182, 865, 415, 351, 287, 24, 62, 13],
        "test": [1090, 893, 396, 384, 273, 18, 83, 16],
    },
}
"""Edition → split → faces of each class under the majority protocol: 25,045 / 3,191 / 3,137 and
25,057 / 3,199 / 3,153 in all."""


def by_class(dataset: data.Dataset) -> dict[str, list[int]]:
    found = {}
    for name in data.SPLITS:
        kept, label = protocol.majority(getattr(dataset, name).votes)
        found[name] = np.bincount(label[kept], minlength=8).tolist()
    return found


def test_the_folder_layout_has_the_counts_of_its_edition(ferplus_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """25,045 / 3,191 / 3,137 faces under the majority protocol, class by class; 3,545 to test under plain argmax."""
    monkeypatch.delenv("XDG_CACHE_HOME")  # the user's own cache: decoding takes half a minute
    found = data.load(ferplus_dir)
    assert by_class(found) == REAL["label.csv"]
    assert [sum(n) for n in REAL["label.csv"].values()] == [25045, 3191, 3137]
    assert protocol.argmax(found.test.votes)[0].sum() == 3545


@pytest.mark.long
def test_the_csv_layout_has_the_counts_of_its_edition(ferplus_csv_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """25,057 / 3,199 / 3,153 faces under the majority protocol, class by class."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    found = data.load(ferplus_csv_dir)
    assert by_class(found) == REAL["fer2013new.csv"]
    assert [sum(n) for n in REAL["fer2013new.csv"].values()] == [25057, 3199, 3153]
