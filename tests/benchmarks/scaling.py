"""Cost against faces and pixels, as numbers and an SVG plot; and the bar: 1280x720 with twenty faces.

python -m tests.benchmarks.scaling --model BUNDLE [--plot scaling.svg]
"""

import time
from pathlib import Path

import click
import numpy as np

from agent import config
from agent.cli.bench import resident_mb
from agent.records import Frame
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle, find
from agent.vision.seats import Seats
from tests.benchmarks.common import scenes
from tests.benchmarks.plots import Panel, draw


def timed(detector, classifier, scene, runs=8):
    """Return the median milliseconds of a whole sample: detection, alignment, classification, seats."""
    seats, took = Seats(), []
    for number in range(runs + 1):
        start = time.perf_counter()
        frame = Frame(scene.image, float(number))
        readings = classifier(frame, detector(frame))
        seats.add(frame.at, [r.box for r in readings])
        took.append(1000 * (time.perf_counter() - start))
    return float(np.median(took[1:]))


@click.command()
@click.option("--model", default="released", show_default=True)
@click.option("--plot", "path", type=click.Path(path_type=Path), help="SVG file to write.")
def main(model: str, path: Path | None) -> None:
    """Print milliseconds a sample by faces and by pixels, with the straight line through them."""
    rng = np.random.default_rng(0)
    portraits = [scenes.cut(p, 1.8) for p in scenes.portraits()]
    bundle = Bundle.load(find(model))
    with (
        Detector(config.Detect(), threads=2) as detector,
        Classifier(bundle, threads=2, faces_per_frame=1000) as classifier,
    ):

        def cost(count, size):
            return timed(
                detector, classifier, scenes.compose([portraits[i % 4] for i in range(count)], 40, rng, size=size)
            )

        faces = [(n, cost(n, (1280, 720))) for n in (1, 10, 20, 40, 60)]
        sizes = ((1280, 720), (1600, 900), (1920, 1080), (2560, 1440))
        pixels = [(w * h / 1e6, cost(5, (w, h))) for w, h in sizes]
    lines = []
    for title, series in (("faces (1280x720)", faces), ("megapixels (5 faces)", pixels)):
        x, y = np.array(series).T
        slope, start = np.polyfit(x, y, 1)
        lines.append([(0.0, start), (x[-1], start + slope * x[-1])])
        click.echo(f"{title}: " + ", ".join(f"{a:g}: {b:.0f} ms" for a, b in series)
              + f"; line {start:.0f} + {slope:.1f} x, r2 {np.corrcoef(x, y)[0, 1] ** 2:.3f}")  # fmt: skip
    click.echo(f"twenty faces: {dict(faces)[20]:.0f} ms a sample (bar 250); RSS {resident_mb():.0f} MB (bar 300)")
    if path:
        draw(
            path,
            Panel("1280x720, by faces", "faces", "ms a sample", {"median of 8": faces, "-line": lines[0]}),
            Panel("5 faces, by pixels", "megapixels", "ms a sample", {"median of 8": pixels, "-line": lines[1]}),
        )


if __name__ == "__main__":
    main()
