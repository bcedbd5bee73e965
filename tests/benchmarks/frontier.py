"""Which network for which time? Validation accuracy against milliseconds a face, for any bundles; and the frontier.

    python -m tests.benchmarks.frontier BUNDLE... --data DIR [--batch 8] [--plot frontier.svg] [--check]

A bundle is on the frontier if no other one is both as accurate and faster; the picture joins the sizes of a config. All
are timed in turns in LiteRT, one thread, so that load hits them alike. With --check, exit 1 unless the first bundle is
on the frontier.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from agent.vision.model_card import Bundle
from agent.vision.runtime import choose
from quantize.engines import ENGINES, seconds
from quantize.scores import runtime_name
from tests.benchmarks.common import accuracy, faces
from tests.benchmarks.plots import Panel, draw
from training import predict


@dataclass(frozen=True)
class Point:
    """One bundle."""

    name: str
    config: str
    side: int
    macs: int
    right: np.ndarray
    """bool (n,): which validation faces it names as their majority does."""
    ms: float
    """A face, in batches, one thread."""

    def beats(self, other: "Point") -> bool:
        """Whether it is as accurate and faster."""
        return self.right.mean() >= other.right.mean() and self.ms < other.ms


def times(bundles, batch, budget, rounds):
    """Return milliseconds a face of each bundle: the median pass of its best round."""
    engines = [ENGINES["litert"][2](b.model, 1, batch) for b in bundles]
    pixels = [np.zeros((batch, b.card.side, b.card.side, 1), np.uint8) for b in bundles]
    best = np.full(len(bundles), np.inf)
    for _ in range(rounds):
        for i, (engine, grey) in enumerate(zip(engines, pixels, strict=True)):
            best[i] = min(best[i], 1000 * float(np.median(seconds(engine, grey, budget))) / batch)
    return best.tolist()


@click.command()
@click.argument("paths", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--batch", default=8, show_default=True, help="Faces a pass, as the agent runs them.")
@click.option("--seconds", "budget", default=0.5, show_default=True, help="A bundle and round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), help="SVG file to write.")
@click.option("--check", is_flag=True, help="Exit 1 unless the first bundle is on the frontier.")
def main(paths, data: Path, batch: int, budget: float, rounds: int, plot: Path | None, check: bool) -> None:
    """Print a table, the fastest first, and whether each bundle is on the frontier."""
    pictures, label = faces(data, "validation")
    bundles = [Bundle.load(path) for path in paths]
    took = times(bundles, batch, budget, rounds)
    points = []
    for path, bundle, ms in zip(paths, bundles, took, strict=True):
        right = predict.load(path)(pictures).argmax(axis=1) == label
        points.append(Point(bundle.card.id, bundle.card.training.config, bundle.card.side, bundle.card.macs, right, ms))
    best = [p for p in points if not any(other.beats(p) for other in points)]
    click.echo(f"{runtime_name(choose('litert'))}, one thread, {batch} faces a pass; validation, majority protocol\n")
    click.echo(
        "| bundle | input | M multiply-adds | ms a face | accuracy | on the frontier |\n|---|---|---|---|---|---|"
    )
    for p in sorted(points, key=lambda p: p.ms):
        on = "yes" if p in best else "no"
        click.echo(f"| `{p.name}` | {p.side} px | {p.macs / 1e6:.0f} | {p.ms:.2f} | {accuracy(p.right)} | {on} |")
    if plot:
        series = {}
        for config in dict.fromkeys(p.config for p in points):
            sizes = sorted((p for p in points if p.config == config), key=lambda p: p.side)
            label = f"{config}, {', '.join(str(p.side) for p in sizes)} px"
            series[label] = [(p.ms, float(p.right.mean())) for p in sizes]
        low = np.floor(min(p.right.mean() for p in points) * 20) / 20
        draw(plot, Panel("Accuracy for time", "ms a face", "validation accuracy", series, start=float(low)))
    sys.exit(1 if check and points[0] not in best else 0)


if __name__ == "__main__":
    main()
