"""A run goes on with what it began with, and with nothing else."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from agent.errors import InputError
from tests.training.runs import STILL
from training import data, distill, loop, record
from training.config import Augment, Phase


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("config.seed 1,.* got 2;", {"config": dataclasses.replace(STILL, seed=2)}),
        ("config.augment.flip False,.* got True;", {"config": dataclasses.replace(STILL, augment=Augment(flip=True))}),
        (
            r"config.phases \[{'epochs': 1, 'side': 48}\],",
            {"config": dataclasses.replace(STILL, phases=(Phase(2, 48),))},
        ),
        ("edition fer2013new.csv,.* got label.csv;", {"edition": "label.csv"}),
        ("faces 96,.* got 64;", {"limit": 64}),
        ("start none,.* got other.keras [0-9a-f]{12};", {"start": True}),
        ("data [0-9a-f]{12},.* got [0-9a-f]{12};", {"faces": True}),
        ("data [0-9a-f]{12},.* got [0-9a-f]{12};", {"votes": True}),
    ],
)
def test_another_run_does_not_go_on_there(
    field: str, changed: dict[str, object], tiny: data.Dataset, tmp_path: Path
) -> None:
    """Another seed, config, edition, limit or start, or other data of one size: the first field that differs."""
    record.of(STILL, tiny).write(tmp_path)
    dataset = data.head(tiny, changed.get("limit", 96))
    for name in {"faces", "votes"} & changed.keys():  # the same ones in another order
        turned = dataclasses.replace(dataset.validation, **{name: getattr(dataset.validation, name)[::-1]})
        dataset = dataclasses.replace(dataset, validation=turned)
    dataset = dataclasses.replace(dataset, edition=changed.get("edition", tiny.edition))
    (tmp_path / "other.keras").write_bytes(b"weights")
    start = tmp_path / "other.keras" if changed.get("start") else None
    with pytest.raises(InputError, match=f"expected {field}"):
        loop.fit(changed.get("config", STILL), dataset, tmp_path, resume=True, verbose=0, start_from=start)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_json_of_another_program_is_not_overwritten(resume: bool, tiny: data.Dataset, tmp_path: Path) -> None:
    """The folder is somebody else's: one line says so, and the file stays."""
    (tmp_path / record.FILE).write_text('{"command": "make"}')
    with pytest.raises(InputError, match=r"run\.json: expected the record of a run, got TypeError"):
        loop.fit(STILL, tiny, tmp_path, resume=resume, verbose=0)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(record.FILE, '{"command": "make"}')]


def test_a_folder_without_a_record_is_gone_on_with(tiny: data.Dataset, tmp_path: Path) -> None:
    """Runs of older versions have none."""
    record.expect(tmp_path, record.of(STILL, tiny), begun=True)


def test_another_backend_does_not_go_on_there(tiny: data.Dataset, tmp_path: Path) -> None:
    """Its random numbers are others, and so would the curve be: both are named."""
    dataclasses.replace(record.of(STILL, tiny), backend="theano").write(tmp_path)
    with pytest.raises(InputError, match=f"expected backend theano, .* got {keras.backend.backend()}; repeat that"):
        loop.fit(STILL, tiny, tmp_path, resume=True, verbose=0)


def test_a_record_of_an_older_version_is_gone_on_with(tiny: data.Dataset, tmp_path: Path) -> None:
    """One without backend and data says nothing of them, and what it says is held to."""
    mine = record.of(STILL, tiny)
    mine.write(tmp_path)
    old = json.loads((tmp_path / record.FILE).read_text())
    del old["backend"], old["data"]
    (tmp_path / record.FILE).write_text(json.dumps(old))
    record.expect(tmp_path, mine, begun=True)
    with pytest.raises(InputError, match="expected edition"):
        record.expect(tmp_path, dataclasses.replace(mine, edition="label.csv"), begun=True)


def test_a_field_that_is_younger_than_the_run_was_not_set(tiny: data.Dataset, tmp_path: Path) -> None:
    """Its record lacks it: gone on with where it has its default, and not where it makes the next epochs others."""
    student = dataclasses.replace(STILL, teacher_share=0.5)
    record.of(student, tiny).write(tmp_path)
    old = json.loads((tmp_path / record.FILE).read_text())
    del old["config"]["teacher_upright"]
    (tmp_path / record.FILE).write_text(json.dumps(old))
    record.expect(tmp_path, record.of(student, tiny), begun=True)
    twice = dataclasses.replace(student, teacher_upright=True)
    with pytest.raises(InputError, match=r"expected config.teacher_upright False, .* got True"):
        record.expect(tmp_path, record.of(twice, tiny), begun=True)


def test_what_a_run_began_with_is_asked_again_until_its_first_epoch(tiny: data.Dataset, tmp_path: Path) -> None:
    """Killed in the first epoch, it has no weights yet: random ones would be another run. Later it has its own."""
    (tmp_path / "start.keras").write_bytes(b"weights")
    record.of(STILL, tiny, tmp_path / "start.keras").write(tmp_path)
    plain = record.of(STILL, tiny)
    with pytest.raises(InputError, match=r"expected start start.keras [0-9a-f]{12}, .* got none"):
        record.expect(tmp_path, plain, begun=False)
    record.expect(tmp_path, plain, begun=True)


def test_another_teacher_does_not_go_on_there(tiny: data.Dataset, tmp_path: Path) -> None:
    """Two teachers are told apart by what they hold, a run with one from a run without."""
    for name, teacher in (("a", 0), ("b", 5)):
        distill.save(tmp_path / f"{name}.npz", distill.Teacher(data.digest(tiny.train.faces), given(teacher)), {})
    student = dataclasses.replace(STILL, teacher_share=0.5)
    one, other = (distill.teacher_of([tmp_path / f"{name}.npz"]) for name in "ab")
    loop.fit(student, tiny, tmp_path / "run", resume=False, verbose=0, teacher=one)
    loop.fit(student, tiny, tmp_path / "run", resume=True, verbose=0, teacher=one)
    with pytest.raises(InputError, match=r"expected teacher a.npz [0-9a-f]{12}, .* got b.npz [0-9a-f]{12}; repeat"):
        loop.fit(student, tiny, tmp_path / "run", resume=True, verbose=0, teacher=other)


def given(label: int) -> np.ndarray:
    """Return a teacher's word on the training faces: this label, whatever it sees."""
    return np.eye(8, dtype=np.float32)[np.full(96, label)]


def test_a_run_leaves_its_record_and_a_whole_history(tiny: data.Dataset, tmp_path: Path) -> None:
    """run.json says what it was; a history.csv that a kill left short, or a start that was another's, is mended."""
    (tmp_path / "started_from.txt").write_text("of a run that was killed in its first epoch")
    loop.fit(STILL, tiny, tmp_path, resume=False, verbose=0)
    assert record.read(tmp_path) == record.of(STILL, tiny)
    assert not (tmp_path / "started_from.txt").exists()
    history = (tmp_path / "history.csv").read_text()
    (tmp_path / "history.csv").write_text(history.splitlines()[0] + "\n")
    loop.fit(STILL, tiny, tmp_path, resume=True, verbose=0)
    assert (tmp_path / "history.csv").read_text() == history
