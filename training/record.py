"""run.json: which run a folder holds, so that no other run goes on there, and none is taken for another."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.errors import InputError
from agent.trust.files import write_atomically
from agent.vision.model_card import FILES
from training import data
from training.config import Config, Phase

FILE: Final = "run.json"


@dataclass(frozen=True)
class Record:
    """What a run was begun with."""

    config: dict[str, Any]
    """`Config`, as JSON has it: lists for tuples."""
    edition: str
    """Of the votes, see `data.Dataset`."""
    faces: int
    """Trained on; a limit or another data set shows here."""
    start: str | None
    """`mark` of the file whose weights it began with; None for random weights."""
    teacher: str | None = None
    """`mark` of each teacher; None without one."""
    backend: str | None = None
    """Of Keras: each draws its own random numbers. None in records of older versions, as `data`."""
    data: str | None = None
    """First digits of the SHA-256 of the faces and votes of training and validation: other data of the same size shows
    here."""

    def write(self, run: Path) -> None:
        """Write run.json in the folder `run`, whole or not at all, also where power fails."""
        write_atomically(run / FILE, (json.dumps(dataclasses.asdict(self), indent=1) + "\n").encode(), 0o644)


def mark(path: Path) -> str:
    """Return the name of the file or bundle `path`, and the first digits of the SHA-256 of the weights in it."""
    weights = path / FILES[0] if path.is_dir() else path
    return f"{path.resolve().name} {hashlib.sha256(weights.read_bytes()).hexdigest()[:12]}"


def of(config: Config, dataset: data.Dataset, start_from: Path | None = None, teacher: str | None = None) -> Record:
    """Return the record of a run, or raise InputError if there is no file `start_from`."""
    import keras  # not at the top: `read` does without it

    train, seen, start = dataset.train, dataset.validation, None
    if start_from is not None:
        if not start_from.is_file():
            raise InputError(f"{start_from}: expected a .keras file of the network {config.name}, got no such file")
        start = mark(start_from)
    return Record(
        config=json.loads(json.dumps(dataclasses.asdict(config))),
        edition=dataset.edition,
        faces=int(data.usable(dataset.train, config.train_on).sum()),
        start=start,
        teacher=teacher,
        backend=keras.backend.backend(),
        data=data.digest(train.faces, train.votes, seen.faces, seen.votes)[:12],
    )


def read(run: Path) -> Record | None:
    """Return the record in the folder `run`; None where there is none, as beside runs of older versions."""
    path = run / FILE
    if not path.is_file():
        return None
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as cause:
        raise InputError(f"{path}: expected the record of a run, got {type(cause).__name__}: {cause}") from cause


def expect(run: Path, mine: Record, *, begun: bool) -> None:
    """Raise InputError, with the first field that differs, unless the folder `run` holds `mine` or has no record.

    A run that has `begun`, with an epoch done, has its weights: it needs no word on what it started from.
    """
    theirs = read(run)
    if theirs is None:
        return
    old, new = (dict(_flat(dataclasses.asdict(record))) for record in (theirs, mine))
    usual = dict(_flat({"config": dataclasses.asdict(Config("any", "cnn", (Phase(1, 48),)))}))
    old = usual | old  # a field that is younger than the run was then as it is unless it is set
    if begun and mine.start is None:
        del new["start"]
    for name in ("backend", "data"):  # an older version did not write them down
        if old[name] is None:
            del old[name]
    for name in new:
        if name in old and old[name] != new[name]:  # a field that another version does not have cannot be compared
            raise InputError(
                f"{run}: expected {name} {_shown(old[name])}, with which the run there began, got {_shown(new[name])}; "
                "repeat that, or name another folder"
            )


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
