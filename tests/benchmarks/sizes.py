"""Accuracy by face size, blur and light, what the quality gate lets through, and the smallest face worth reading.

    python -m tests.benchmarks.sizes --data DIR [--model BUNDLE] [--split validation] [--count 1500] [--plot sizes.svg]

Faces are shrunk to so many pixels and enlarged again by `preprocess`, as the agent does it. The limit is chosen on
the validation split: the smallest size that costs at most `MOST_LOSS` points against 48 px.
"""

from pathlib import Path

import click
import cv2
import numpy as np

from agent.records import Box
from agent.vision import quality
from agent.vision.align import MARGIN
from agent.vision.classify import Classifier
from agent.vision.model_card import Bundle, find
from agent.vision.preprocess import preprocess
from tests.benchmarks.common import accuracy, faces
from tests.benchmarks.plots import Panel, draw

SIDES = (48, 40, 36, 32, 28, 24, 20, 16)
MOST_LOSS = 6.0
"""Points of accuracy."""
BLURS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Sigma, pixels of a 48-px picture."""
LIGHTS = (0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)


def shrunk(picture, side):
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def blurred(picture, sigma):
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma else picture


def lit(picture, factor):
    return np.clip(np.rint(picture * factor), 0, 255).astype(np.uint8)


def passed(pictures):
    """Return which pictures the quality gate lets through; their boxes have the size that gives such a crop."""
    boxes = [Box(0, 0, p.shape[0] / MARGIN, p.shape[0] / MARGIN) for p in pictures]
    return np.array([quality.rejection(b, p, quality.Limits()) is None for b, p in zip(boxes, pictures, strict=True)])


def curve(title, unit, change, levels, pictures, right):
    """Print and return [(level, accuracy, accuracy of those let through, share let through)]."""
    click.echo(f"\n| {title} | accuracy | let through | accuracy of those |\n|---|---|---|---|")
    rows = []
    for level in levels:
        changed = [change(p, level) for p in pictures]
        hits, through = right(changed), passed(changed)
        kept = accuracy(hits[through]) if through.any() else "-"
        click.echo(f"| {level:g} {unit} | {accuracy(hits)} | {through.mean():.1%} | {kept} |")
        rows.append((level, hits.mean(), hits[through].mean() if through.any() else None, through.mean()))
    return rows


def panel(title, x, rows):
    return Panel(title, x, "share", {
        "accuracy, all": [(r[0], r[1]) for r in rows],
        "accuracy, let through": [(r[0], r[2]) for r in rows if r[2] is not None],
        "let through": [(r[0], r[3]) for r in rows],
    })  # fmt: skip


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--model", default="released", show_default=True)
@click.option("--split", default="validation", show_default=True)
@click.option("--count", default=1500, show_default=True, help="Faces.")
@click.option("--plot", "path", type=click.Path(path_type=Path), help="SVG file to write.")
def main(data: Path, model: str, split: str, count: int, path: Path | None) -> None:
    """Print three tables, and the smallest face that loses at most MOST_LOSS points."""
    pictures, labels = faces(data, split)
    chosen = np.random.default_rng(5).permutation(len(pictures))[:count]
    pictures, labels = pictures[chosen], labels[chosen]
    bundle = Bundle.load(find(model))
    click.echo(f"{bundle.card.id}, {split} split, majority protocol, {len(pictures)} faces")
    with Classifier(bundle, threads=2, faces_per_frame=1000) as classifier:

        def right(changed):
            inputs = np.stack([preprocess(p, bundle.card.side) for p in changed])
            return classifier.probabilities(inputs).argmax(axis=1) == labels

        small = curve("shrunk to", "px", shrunk, SIDES, pictures, right)
        soft = curve("blurred by", "px of 48", blurred, BLURS, pictures, right)
        light = curve("light", "x", lit, LIGHTS, pictures, right)
    best = small[0][1]
    side = min(s for s, share, _, _ in small if 100 * (best - share) <= MOST_LOSS)
    click.echo(
        f"\nsmallest picture that loses at most {MOST_LOSS:g} points: {side} px, a face {side / MARGIN:.0f} px wide"
    )
    click.echo(f"the gate's limit: {quality.Limits().least_width:g} px")
    if path:
        draw(
            path,
            panel("Accuracy by size of the crop", "side of the crop, px", small),
            panel("… by blur", "Gaussian's sigma, px of a 48-px crop", soft),
            panel("… by light", "factor on grey levels", light),
        )


if __name__ == "__main__":
    main()
