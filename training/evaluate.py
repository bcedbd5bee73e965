"""`python -m training.evaluate MODEL…`: what models do on a split of FER2013 + FERPlus, under both protocols."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import numpy.typing as npt

from agent.errors import InputError, UsageError
from training import copies, data, metrics, predict, protocol
from training.cli import expect_writable, reported, with_data, with_limit, with_looks

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Evaluation:
    """One model on one split."""

    model: str
    """As it was named on the command line."""
    sha256: str
    """Of the model file (of model.tflite in a bundle)."""
    edition: str
    """Which edition of the votes, see `data.Dataset`."""
    split: SplitName
    flip: bool
    """Whether the logits are the mean over the face and its mirror image."""
    upright: bool
    """Whether they are the mean over the face and itself upright; with both, over four looks."""
    scores: dict[str, metrics.Scores]
    """Protocol → scores."""
    without_copies: dict[str, metrics.Scores] | None = None
    """The same without the faces that `training.copies` finds in the training split; None where it was not asked."""

    @property
    def looks(self) -> str:
        """What was looked at beside each face as it is: the end of a sentence; nothing where that is all."""
        return (", with mirror image" if self.flip else "") + (", and upright" if self.upright else "")

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        asked = {} if self.without_copies is None else {"without_copies": _plain(self.without_copies)}
        return {
            "model": self.model,
            "sha256": self.sha256,
            "edition": self.edition,
            "split": self.split,
            "flip": self.flip,
            "upright": self.upright,
            "protocols": _plain(self.scores),
            **asked,
        }


def _plain(found: Mapping[str, metrics.Scores]) -> dict[str, Any]:
    return {name: scores.as_dict() for name, scores in found.items()}


def evaluate(predictor: predict.Predictor, split: data.Split) -> dict[str, metrics.Scores]:
    """Return the scores of `predictor` on `split` under each protocol; InputError if one leaves no face."""
    return scored(_answers(predictor, split), split.votes)


def _answers(predictor: predict.Predictor, split: data.Split) -> Floats:
    """Return probabilities (n, 8) of the faces that a protocol keeps, NaN for others; InputError if one keeps none."""
    rules = [_kept(name, split.votes)[0] for name in protocol.PROTOCOLS]
    used = np.logical_or.reduce(rules)
    probabilities = np.full((len(split.faces), protocol.N_CLASSES), np.nan)
    probabilities[used] = metrics.softmax(predictor(split.faces[used]))
    return probabilities


def scored(
    probabilities: Floats, votes: npt.NDArray[np.int64], without: Mask | None = None
) -> dict[str, metrics.Scores]:
    """Return protocol → scores of `probabilities` (n, 8), of all faces or `without` some (n,)."""
    found = {}
    for name in protocol.PROTOCOLS:
        kept, label = _kept(name, votes, without)
        found[name] = metrics.measure(probabilities[kept], label[kept])
    return found


def _kept(name: str, votes: npt.NDArray[np.int64], without: Mask | None = None) -> tuple[Mask, npt.NDArray[np.int64]]:
    kept, label = protocol.PROTOCOLS[name](votes)
    kept = kept if without is None else kept & ~without
    if not kept.any():
        raise InputError(f"expected a face to measure under {name}, got none in {len(kept)}; use more faces")
    return kept, label


def evaluate_file(
    path: Path,
    dataset: data.Dataset,
    split: SplitName,
    *,
    flip: bool = False,
    upright: bool = False,
    threads: int,
    copied: Mask | None = None,
) -> Evaluation:
    """Return the evaluation of the model at `path`; errors as `predict.load`.

    `copied` (n,) are the near-copies in the split, without which it is scored once more.
    """
    predictor = predict.looking(predict.load(path, threads=threads, title=str(path)), flip=flip, upright=upright)
    chosen: data.Split = getattr(dataset, split)
    answers = _answers(predictor, chosen)
    return Evaluation(
        model=str(path),
        sha256=_sha256(path / "model.tflite" if path.is_dir() else path),
        edition=dataset.edition,
        split=split,
        flip=flip,
        upright=upright,
        scores=scored(answers, chosen.votes),
        without_copies=None if copied is None else scored(answers, chosen.votes, copied),
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_text(found: Iterable[Evaluation]) -> str:
    """Return the evaluations for a terminal."""
    lines = []
    for one in found:
        lines.append(f"{one.model}  ({one.split} split, votes of {one.edition}{one.looks})")
        for name, s in one.scores.items():
            values = {"accuracy": s.accuracy, "macro-F1": s.macro_f1, "ECE": s.ece}
            text = "   ".join(f"{k} {_interval(v)}" for k, v in values.items())
            lines.append(f"  {name:8} n = {s.n}   {text}")
        for name, s in (one.without_copies or {}).items():
            lines.append(f"  {name:8} n = {s.n}   accuracy {_interval(s.accuracy)} without near-copies")
        lines += ["", *_class_lines(one.scores["majority"]), ""]
    return "\n".join(lines)


def _interval(v: metrics.Interval) -> str:
    return f"{v.value:.4f} [{v.low:.4f}, {v.high:.4f}]"


def _class_lines(scores: metrics.Scores) -> Iterable[str]:
    yield f"  {'majority':12}{'n':>5}   {'precision':22}recall"
    for name, n, *values in zip(metrics.LABELS, scores.support, scores.precision, scores.recall, strict=True):
        text = "".join(f"{f'{v.value:.3f} [{v.low:.3f}, {v.high:.3f}]':22}" for v in values)
        yield f"  {name:12}{n:5}   {text}".rstrip()


@click.command(
    epilog="Example: python -m training.evaluate cnn/final.keras agent/models/released --data DIR --html report.html"
)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@with_data
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="validation",
    show_default=True,
    help="Choose on validation; look at test once for a model that you report.",
)
@click.option(
    "--without-copies", is_flag=True, help="The accuracy without near-copies of training faces, too (training.copies)."
)
@with_looks
@with_limit
@click.option(
    "--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Threads of the TFLite runtime."
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, and nothing else there.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    default=None,
    help="Write an interactive report that compares the models.",
)
@reported
def main(
    models: tuple[Path, ...],
    directory: Path,
    split: SplitName,
    without_copies: bool,
    flip: bool,
    upright: bool,
    limit: int | None,
    threads: int,
    as_json: bool,
    html: Path | None,
) -> None:
    """Measure MODELS (.keras, .tflite or bundle folders) and compare them side by side."""
    if html is not None:
        expect_writable(html, ".html")
    if without_copies and split == "train":
        raise UsageError("--without-copies: expected --split validation or test, got the split that is copied from")
    dataset = data.load(directory)
    whole = dataset.train.faces  # a face's twin may lie beyond the limit
    dataset = data.head(dataset, limit)
    faces = getattr(dataset, split).faces
    copied = copies.twins(faces, whole, f"{split}, nearest training face").copied if without_copies else None
    looks = {"flip": flip, "upright": upright}
    found = [evaluate_file(path, dataset, split, **looks, threads=threads, copied=copied) for path in models]
    click.echo(json.dumps([one.as_dict() for one in found], indent=1) if as_json else as_text(found))
    if html is not None:
        from training.report import compare  # plotly takes a second to import

        html.write_text(compare(found), encoding="utf-8")


if __name__ == "__main__":
    main()
