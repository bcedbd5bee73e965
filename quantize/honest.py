"""`python -m quantize.honest BUNDLE --data DIR`: are its probabilities what they say, and is the mean index unbiased?

Truth are the annotators' votes on every face whose top vote is an emotion. The bars are this project's own: a
calibration error of at most 0.03, under the 0.05 that ENGAGEMENT asks for on the test split, and a mean index within 1
point of that of the votes, for which ENGAGEMENT has no bar. Runs on validation unless told otherwise: the test split is
looked at once for each model that is reported.

On the split that the calibration was fitted to, usually validation, the fit makes the mean bias 0 and the error small
whatever the network is worth. There the fit is repeated without each of five folds in turn, and judged on what it left
out. The mean of the five biases would be near 0 again (what one fold has too much, the other four had too little), so
the bias is that of the worst fold, beyond its own 95 % interval.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

import click
import numpy as np
import numpy.typing as npt

from agent.calibration import labelled, probabilities
from agent.calibration.labelled import FOLDS
from agent.errors import CheckFailed, InputError
from agent.insight import weights
from agent.insight.weights import WeightTable
from agent.vision import runtime
from agent.vision.card import Calibration
from agent.vision.model_card import Bundle
from quantize import scores
from training import data
from training.cli import reported, with_data, with_limit
from training.network import Network

Floats = npt.NDArray[np.float64]

WORST_ECE: Final = 0.03
WORST_BIAS: Final = 1.0
"""Points."""
CROSS_FITTED: Final = "cross-fitted"
_BATCH: Final = 16


@dataclass(frozen=True)
class Row:
    """One way to make probabilities of the same logits."""

    how: str
    """"none", "temperature" (biases left away), "bcts" (what the device does) or, on the split that bcts was fitted to,
    "cross-fitted"."""
    ece: float
    """Calibration error of the top class against vote shares, 0-1."""
    ece_labels: float
    """The same against majority labels, where there is one."""
    bias: float
    """Mean index of the probabilities minus that of the votes, points; of the worst fold where it is cross-fitted."""
    bias_ci95: float
    """Half of the bias' 95 % interval over faces, points."""
    nll: float
    """Cross-entropy with the votes, nats."""


@dataclass(frozen=True)
class Result:
    """What `measure` found on one split."""

    model: str
    split: str
    n: int
    """Faces."""
    weights_id: str
    rows: tuple[Row, ...]

    @property
    def cross_fitted(self) -> bool:
        """Whether these are the faces that the calibration was fitted to."""
        return any(row.how == CROSS_FITTED for row in self.rows)

    def missed(self) -> list[str]:
        """Return what is beyond the bars, a line each: of the device's row and of the cross-fitted one."""
        missed = []
        for row in self.rows:
            if row.how not in ("bcts", CROSS_FITTED):
                continue
            if row.ece > WORST_ECE:
                missed.append(f"{row.how}: expected a calibration error of at most {WORST_ECE}, got {row.ece:.4f}")
            # A fifth of the faces has more noise than the bar; the bias of all is judged as it is.
            noise = row.bias_ci95 if row.how == CROSS_FITTED else 0.0
            if abs(row.bias) > WORST_BIAS + noise:
                bar = f"{WORST_BIAS:g} point" + (f" and the noise, {noise:.2f}," if noise else "")
                missed.append(f"{row.how}: expected the mean index within {bar} of the votes', got {row.bias:+.2f}")
        return missed


def measure(bundle: Bundle, faces: scores.Labelled, table: WeightTable, threads: int) -> Result:
    """Return the errors of the bundle's int8 network on `faces`; cross-fitted, too, where its calibration saw them."""
    own = bundle.card.calibration
    fitted_here = own.split == faces.name
    least = 2 * FOLDS if fitted_here else 2
    if len(faces.faces) < least:
        raise InputError(f"{faces.name}: expected at least {least} faces, got {len(faces.faces)}; raise --limit")
    network = Network(bundle.model, runtime.choose(), threads=threads, batch=_BATCH)
    logits = network.logits(faces.faces, faces.name)
    # With the biases left away: what they are for.
    ways = {"none": Calibration(), "temperature": own.model_copy(update={"biases": (0.0,) * 8}), "bcts": own}
    rows = [_row(how, scores.calibrated(logits, scaling), faces, table) for how, scaling in ways.items()]
    if fitted_here:
        rows.append(_cross_fitted(logits, faces, table))
    return Result(bundle.card.id, faces.name, len(logits), table.id, tuple(rows))


def _cross_fitted(logits: Floats, faces: scores.Labelled, table: WeightTable) -> Row:
    """Return the row of probabilities that each come from a calibration fitted to the other four folds."""
    try:
        p = labelled.cross_fitted(logits, faces.votes)
    except ValueError as cause:
        raise CheckFailed(f"{faces.name}: cannot be cross-fitted: {cause}") from cause
    biases = [_bias(p[held_out], faces.votes[held_out], table) for held_out in labelled.folds(len(p))]
    worst, noise = max(biases, key=lambda one: abs(one[0]) - one[1])
    return replace(_row(CROSS_FITTED, p, faces, table), bias=worst, bias_ci95=noise)


def _row(how: str, p: Floats, faces: scores.Labelled, table: WeightTable) -> Row:
    kept = faces.majority
    one_hot = np.eye(p.shape[1])[faces.label[kept]]
    bias, noise = _bias(p, faces.votes, table)
    return Row(
        how=how,
        ece=probabilities.ece(p, faces.votes),
        ece_labels=probabilities.ece(p[kept], one_hot),
        bias=bias,
        bias_ci95=noise,
        nll=probabilities.nll(p, faces.votes),
    )


def _bias(p: Floats, votes: Floats, table: WeightTable) -> tuple[float, float]:
    """Return the bias of the mean index, and half of its 95 % interval over faces, points."""
    apart = (p - votes) @ table.vector()
    return probabilities.index_bias(p, votes, table.points), 1.96 * float(apart.std(ddof=1)) / len(apart) ** 0.5


def as_text(result: Result) -> str:
    """Return `result` as a table for people."""
    lines = [
        f"{result.model}, {result.n} faces of {result.split}, weights {result.weights_id}",
        "calibration  ECE (votes)  ECE (labels)  bias of the mean index   NLL",
    ]
    lines += [
        f"{row.how:<12} {row.ece:>11.4f} {row.ece_labels:>13.4f} {row.bias:>+12.2f} ± {row.bias_ci95:.2f} points"
        f" {row.nll:>7.3f}"
        for row in result.rows
    ]
    if result.cross_fitted:
        how = f"{FOLDS} folds, each scored by a fit to the others; bias: of the worst fold"
        lines.append(f"{result.split} is what the calibration was fitted to: {CROSS_FITTED} judges it ({how})")
    return "\n".join(lines)


@click.command(epilog="Example: python -m quantize.honest agent/models/released --data ~/ferplus")
@click.argument("bundle", type=click.Path(path_type=Path))
@with_data
@click.option("--split", type=click.Choice(["validation", "test"]), default="validation", show_default=True)
@click.option("--weights", "name", default=weights.DEFAULT, show_default=True, help="Id or TOML file of a table.")
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Of the runtime.")
@with_limit
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@reported
def main(
    bundle: Path,
    directory: Path,
    split: Literal["validation", "test"],
    name: str,
    threads: int,
    limit: int | None,
    as_json: bool,
) -> None:
    """Measure the calibration error and the bias of the mean index of BUNDLE; exit 1 beyond the bars.

    On the split that the calibration was fitted to it is fitted again without each of five folds, and judged on those.
    """
    read = Bundle.load(bundle)
    dataset = data.head(data.load(directory), limit)
    result = measure(read, scores.labelled(dataset, split, read.card.side), weights.load(name), threads)
    click.echo(json.dumps({**asdict(result), "missed": result.missed()}) if as_json else as_text(result))
    if missed := result.missed():
        raise CheckFailed("; ".join(missed))


if __name__ == "__main__":
    main()
