"""`python -m quantize.honest BUNDLE --data DIR`: are its probabilities what they say, and is the mean index unbiased?

Truth are the annotators' votes on every face whose top vote is an emotion. The bars are those of ENGAGEMENT: a
calibration error of at most 0.03, and a mean index within 1 point of that of the votes. Runs on validation unless
told otherwise: the test split is looked at once for each model that is reported.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import click
import numpy as np
import numpy.typing as npt

from agent.calibration import probabilities
from agent.errors import CheckFailed, InputError
from agent.insight import weights
from agent.insight.weights import WeightTable
from agent.vision import runtime
from agent.vision.model_card import Bundle, Calibration
from quantize import scores
from training import data
from training.cli import reported, with_data, with_limit
from training.network import Network

Floats = npt.NDArray[np.float64]

WORST_ECE: Final = 0.03
WORST_BIAS: Final = 1.0
"""Points."""
_BATCH: Final = 16


@dataclass(frozen=True)
class Row:
    """One way to make probabilities of the same logits."""

    how: str
    """"none", "temperature" (biases left away) or "bcts" (what the device does)."""
    ece: float
    """Calibration error of the top class against vote shares, 0-1."""
    ece_labels: float
    """The same against majority labels, where there is one."""
    bias: float
    """Mean index of the probabilities minus that of the votes, points."""
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
    """The last one is the device's."""

    def missed(self) -> list[str]:
        """Return what is beyond the bars, a line each."""
        device, missed = self.rows[-1], []
        if device.ece > WORST_ECE:
            missed.append(f"expected a calibration error of at most {WORST_ECE}, got {device.ece:.4f}")
        if abs(device.bias) > WORST_BIAS:
            missed.append(f"expected the mean index within {WORST_BIAS:g} point of the votes', got {device.bias:+.2f}")
        return missed


def measure(bundle: Bundle, faces: scores.Labelled, table: WeightTable, threads: int) -> Result:
    """Return the errors of the bundle's int8 network on `faces`."""
    if len(faces.faces) < 2:
        raise InputError(f"{faces.name}: expected at least two faces, got {len(faces.faces)}; raise --limit")
    network = Network(bundle.model, runtime.choose(), threads=threads, batch=_BATCH)
    logits = network.logits(faces.faces, faces.name)
    own = bundle.card.calibration
    # With the biases left away: what they are for.
    ways = {"none": Calibration(), "temperature": own.model_copy(update={"biases": (0.0,) * 8}), "bcts": own}
    rows = tuple(_row(how, scores.calibrated(logits, scaling), faces, table) for how, scaling in ways.items())
    return Result(bundle.card.id, faces.name, len(logits), table.id, rows)


def _row(how: str, p: Floats, faces: scores.Labelled, table: WeightTable) -> Row:
    kept = faces.majority
    one_hot = np.eye(p.shape[1])[faces.label[kept]]
    apart = (p - faces.votes) @ table.vector()
    return Row(
        how=how,
        ece=probabilities.ece(p, faces.votes),
        ece_labels=probabilities.ece(p[kept], one_hot),
        bias=probabilities.index_bias(p, faces.votes, table.points),
        bias_ci95=1.96 * float(apart.std(ddof=1)) / len(apart) ** 0.5,
        nll=float(-(faces.votes * np.log(np.maximum(p, 1e-12))).sum(axis=1).mean()),
    )


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
    return "\n".join(lines)


@click.command(epilog="Example: python -m quantize.honest agent/models/released --data ~/ferplus")
@click.argument("bundle", type=click.Path(path_type=Path))
@with_data
@click.option("--split", type=click.Choice(["validation", "test"]), default="validation", show_default=True)
@click.option("--weights", "name", default=weights.DEFAULT, show_default=True, help="Id or TOML file of a table.")
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True)
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
    """Measure the calibration error and the bias of the mean index of BUNDLE; exit 1 beyond the bars."""
    read = Bundle.load(bundle)
    dataset = data.load(directory)
    if limit is not None:
        dataset = data.head(dataset, limit)
    result = measure(read, scores.labelled(dataset, split, read.card.side), weights.load(name), threads)
    click.echo(json.dumps({**asdict(result), "missed": result.missed()}) if as_json else as_text(result))
    if missed := result.missed():
        raise CheckFailed("; ".join(missed))


if __name__ == "__main__":
    main()
