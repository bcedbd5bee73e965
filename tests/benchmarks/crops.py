"""Accuracy on crops that the detector made, against the dataset's own pictures of the same faces.

    python -m tests.benchmarks.crops --data DIR --model BUNDLE [--split test] [--count 1500]

Bar: detected crops lose less than 2 points. Margin and rise were chosen with --margins on the validation split.
"""

from pathlib import Path

import click
import cv2
import numpy as np

from agent import config
from agent.vision import align, weights
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle, find
from agent.vision.preprocess import preprocess
from tests.benchmarks.common import accuracy, faces, scenes

RNG = np.random.default_rng(5)


def detected(pictures, detector, width_px):
    """Return [(number, grey frame, box)] of the faces found in frames with thirty pictures each."""
    found = []
    for start in range(0, len(pictures), 30):
        heads = [scenes.fer_head(p) for p in pictures[start : start + 30]]
        scene = scenes.compose(heads, width_px, RNG)
        grey = cv2.cvtColor(scene.image, cv2.COLOR_BGR2GRAY)
        free = detector.boxes(scene.image)
        for number, face in enumerate(scene.faces, start):
            box = next((b for b in free if scenes.match([face], [b])[0]), None)
            if box is not None:
                free.remove(box)
                found.append((number, grey, box))
    return found


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--model", default="released", show_default=True)
@click.option("--split", default="test", show_default=True)
@click.option("--count", default=1500, show_default=True, help="Faces.")
@click.option("--margins", is_flag=True, help="Try other margins and rises (only with --split validation).")
def main(data: Path, model: str, split: str, count: int, margins: bool) -> None:
    """Print what the detector's crops cost."""
    pictures, labels = faces(data, split)
    chosen = RNG.permutation(len(pictures))[:count]
    pictures, labels = pictures[chosen], labels[chosen]
    bundle = Bundle.load(find(model))
    side, rise = bundle.card.side, weights.SHORT_RANGE.rise
    with (
        Classifier(bundle, threads=2, faces_per_frame=1000) as classifier,
        Detector(config.Detect(), threads=2) as detector,
    ):

        def right(crops, truth):
            inputs = np.stack([preprocess(c, side) for c in crops])
            return classifier.probabilities(inputs).argmax(axis=1) == truth

        click.echo(f"{bundle.card.id}, {split} split, majority protocol")
        for width in (48 / scenes.PICTURE, 64.0):
            found = detected(pictures, detector, width)
            numbers = [n for n, _, _ in found]
            own = right(pictures[numbers], labels[numbers])
            cut = right([align.crop(g, b, rise) for _, g, b in found], labels[numbers])
            click.echo(
                f"faces {width:.0f} px wide: found {len(found)} of {len(pictures)}; own pictures {accuracy(own)}; "
                f"detected crops {accuracy(cut)}; loss {100 * (own.mean() - cut.mean()):+.2f} points"
            )
            if margins and split == "validation":
                for margin in (1.0, 1.05, 1.1, 1.17, 1.25):
                    for up in (0.04, 0.08, 0.12):
                        cut = right([align.crop(g, b, up, margin) for _, g, b in found], labels[numbers])
                        click.echo(f"  margin {margin} rise {up}: {cut.mean():.4f}")


if __name__ == "__main__":
    main()
