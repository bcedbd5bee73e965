"""`python -m training.distill TEACHER…`: what an ensemble thinks of the training faces, as targets for a student.

Hinton et al. 2015 (arXiv 1503.02531). The student's config sets `teacher_share`, and `training.fit --teacher FILE`
mixes that share of the teachers' distribution into the annotators' votes. `training.fit --teacher MODEL` needs no such
file: the models look at each augmented face as the student does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from agent.cli._options import Number
from agent.errors import InputError
from training import data, metrics, predict, protocol, record
from training.cli import expect_writable, reported, with_data, with_limit, with_looks


@dataclass(frozen=True)
class Teacher:
    """Mean probabilities of the teachers, each face looked at once, before training."""

    faces_sha256: str
    """Of the faces that they belong to, in order."""
    probabilities: npt.NDArray[np.float32]
    """(n, 8), rows sum to 1."""
    name: str = ""
    """Of the file, see `record.mark`."""

    def of(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the probabilities (n, 8) for `faces` (n, 48, 48), or raise InputError if they are other faces."""
        if data.digest(faces) != self.faces_sha256:
            raise InputError(
                f"the teacher file holds other faces ({len(self.probabilities)}) than the data ({len(faces)})"
            )
        return self.probabilities


@dataclass(frozen=True)
class OnView:
    """Teachers that look at what the student sees, augmented and mixed.

    What is left of a face after erasing and turning is what teacher and student should agree on: "consistent
    teaching", Beyer et al. 2022 (arXiv 2106.05237).
    """

    predictors: Sequence[predict.Predictor]
    name: str
    """Of the teachers' files, see `record.mark`."""

    def __call__(self, faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the teachers' mean probabilities (n, 8) for `faces` (n, h, w), 0-255."""
        return ensemble(self.predictors, faces)


def ensemble(
    predictors: Sequence[predict.Predictor], faces: npt.NDArray[np.uint8], temperature: float = 1.0
) -> npt.NDArray[np.float32]:
    """Return the mean of the predictors' probabilities for `faces`, (n, 8); a temperature above 1 softens them."""
    return np.mean([metrics.softmax(p(faces) / temperature) for p in predictors], axis=0).astype(np.float32)


def save(path: Path, teacher: Teacher, about: dict[str, object]) -> None:
    """Write `teacher` whole or not at all; `about` says where it comes from."""
    temporary = path.with_name(f".{path.name}.partial.npz")
    arrays = {"faces_sha256": teacher.faces_sha256, "probabilities": teacher.probabilities, "about": json.dumps(about)}
    try:
        np.savez(temporary, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # a full disk gets its room back


def load(path: Path) -> Teacher:
    """Return the teacher that `save` wrote at `path`, or raise InputError."""
    try:
        with np.load(path) as stored:
            return Teacher(str(stored["faces_sha256"]), stored["probabilities"], record.mark(path))
    except Exception as cause:  # numpy, zipfile and pickle each have their own for a file that is something else
        raise InputError(f"{path}: expected a file of training.distill, got {type(cause).__name__}: {cause}") from cause


def teacher_of(paths: Sequence[Path]) -> Teacher | OnView | None:
    """Return the teacher of `training.fit --teacher`: a file of this module, or models; None of nothing.

    Raises
    ------
    InputError
        several paths of which one is a file of this module, or as `load` and `predict.load`
    ModelError
        as `predict.load`
    """
    if not paths:
        return None
    if not any(path.suffix == ".npz" for path in paths):
        return OnView([predict.load(path) for path in paths], " + ".join(map(record.mark, paths)))
    if len(paths) > 1:
        raise InputError(f"expected one file of training.distill as teacher, or models, got {len(paths)} with a .npz")
    return load(paths[0])


@click.command(
    epilog="Example: python -m training.distill a/final.keras b/final.keras --data DIR --flip --out soft.npz"
)
@click.argument("teachers", nargs=-1, required=True, type=click.Path(path_type=Path))
@with_data
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write (.npz).")
@with_looks
@click.option(
    "--temperature",
    type=Number(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    help="Divides the teachers' logits, and nothing of the student's.",
)
@with_limit
@reported
def main(
    teachers: tuple[Path, ...], directory: Path, out: Path, flip: bool, upright: bool, temperature: float,
    limit: int | None,
) -> None:  # fmt: skip
    """Write the mean probabilities of TEACHERS (.keras, .tflite, bundles) for the training split."""
    expect_writable(out, ".npz")
    dataset = data.head(data.load(directory), limit)
    loaded = [predict.load(path, title=str(path)) for path in teachers]
    predictors = [predict.looking(p, flip=flip, upright=upright) for p in loaded]
    about = {
        "teachers": [str(t) for t in teachers],
        "flip": flip,
        "upright": upright,
        "temperature": temperature,
        "edition": dataset.edition,
    }
    soft = ensemble(predictors, dataset.train.faces, temperature)
    # Chosen on validation, like everything: how good the ensemble is before it teaches.
    kept, label = protocol.majority(dataset.validation.votes)
    if not kept.any():
        raise InputError(f"expected a validation face with a majority, got none in {len(kept)}; raise --limit")
    scores = metrics.measure(ensemble(predictors, dataset.validation.faces[kept], temperature), label[kept])
    save(out, Teacher(data.digest(dataset.train.faces), soft), about)
    a = scores.accuracy
    click.echo(
        f"{out}: {len(loaded)} teachers, validation accuracy {a.value:.4f} [{a.low:.4f}, {a.high:.4f}], n = {scores.n}"
    )


if __name__ == "__main__":
    main()
