"""`python -m quantize.gains MODEL.keras --data DIR`: what each step of the conversion is worth, on validation.

Four integer networks of one float network: with and without equalised channels, with and without narrowed branches.
The noise of the logits tells them apart long before accuracy does: a tenth of a point is three faces.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np
import numpy.typing as npt

from agent.cli._options import Number
from agent.vision import runtime
from quantize import equalize, lite, representative, scores, source
from training import data, metrics
from training.cli import reported, with_data, with_limit
from training.network import Network

_HEAD: Final = (
    "| equalised | branches narrowed | logits, signal to noise, dB | same top class | drop, points [95 %] |\n"
    "|---|---|---|---|---|"
)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gain:
    """One way to make the integers."""

    equalized: float
    """Strength 0-1 that the network took, see `equalize.equalize`."""
    narrowed: bool
    snr_db: float
    """Signal-to-noise ratio of the logits against the float network's, each face's mean taken off, dB."""
    agreement: float
    """Share of faces with the same top class as float, 0-1."""
    drop: metrics.Interval
    """Float accuracy minus integer accuracy on the same faces, points."""


def measure(path: Path, dataset: data.Dataset, strengths: tuple[float, ...], *, threads: int) -> Iterator[Gain]:
    """Yield the gain of every strength, without and with narrowed branches, measured on the validation split."""
    model = source.load(path)
    side, weights = model.input_shape[1], model.get_weights()
    faces = representative.pinned(representative.choose(dataset.train, representative.FACES, 1)[0], side)
    given = scores.labelled(dataset, "validation", side)
    seen, label = given.faces[given.majority], given.label[given.majority]
    chosen = runtime.choose()
    floats = None
    for strength in strengths:
        model.set_weights(weights)
        taken = equalize.equalize(model, faces, strength)
        if floats is None:
            floats = Network(lite.to_float(model), chosen, threads=threads).logits(seen, "float")
        for narrow in (False, True):
            coded = Network(lite.to_integer(model, faces, narrow=narrow), chosen, threads=threads)
            yield _compared(floats, coded.logits(seen, "int8"), label, taken, narrow)


def _compared(floats: Floats, ints: Floats, label: npt.NDArray[np.int64], strength: float, narrow: bool) -> Gain:
    p, q = metrics.softmax(floats), metrics.softmax(ints)
    exact, coded = (z - z.mean(axis=1, keepdims=True) for z in (floats, ints))
    return Gain(
        equalized=strength,
        narrowed=narrow,
        snr_db=float(10 * np.log10((exact**2).sum() / max(((exact - coded) ** 2).sum(), 1e-30))),
        agreement=metrics.agreement(p, q),
        drop=scores.drop(p, q, label),
    )


@click.command(epilog="Example: python -m quantize.gains final.keras --data ~/ferplus")
@click.argument("model", type=click.Path(path_type=Path))
@with_data
@click.option(
    "--strength", "strengths", type=Number(0, 1), multiple=True, default=(0.0, 1.0), show_default=True,
    help="Of equalisation; repeat it.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Of the runtime.")
@with_limit
@reported
def main(model: Path, directory: Path, strengths: tuple[float, ...], threads: int, limit: int | None) -> None:
    """Print what equalised channels and narrowed branches are worth for MODEL, a .keras file of training.fit."""
    source.tensorflow_keras()
    dataset = data.head(data.load(directory), limit)
    for number, gain in enumerate(measure(model, dataset, strengths, threads=threads)):
        if number == 0:  # a model that is refused has no table
            click.echo(_HEAD)
        click.echo(
            f"| {gain.equalized:g} | {'yes' if gain.narrowed else 'no'} | {gain.snr_db:.1f} | "
            f"{gain.agreement:.1%} | {gain.drop.value:.2f} [{gain.drop.low:.2f}, {gain.drop.high:.2f}] |"
        )


if __name__ == "__main__":
    main()
