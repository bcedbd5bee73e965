"""Cost against faces and pixels, as numbers and an SVG plot; and the bar: 1280x720 with twenty faces.

python -m tests.benchmarks.scaling --model BUNDLE [--plot scaling.svg]
"""

import os
import time
from pathlib import Path

import click
import numpy as np

from agent import config
from agent.device.memory import rss_bytes
from agent.records import Frame
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle, find
from agent.vision.seats import Seats
from tests.benchmarks.common import scenes
from tests.benchmarks.plots import Panel, draw


def timed(detector, classifier, scene, runs=8):
    """Return the median (wall, processor) milliseconds of a whole sample: detection, alignment, reading, seats."""
    seats, took = Seats(), []
    for number in range(runs + 1):
        start = time.perf_counter(), time.process_time()
        frame = Frame(scene.image, float(number))
        readings = classifier(frame, detector(frame))
        seats.add([r.box for r in readings])
        took.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return 1000 * np.median(took[1:], axis=0)


def report(title, series, what):
    """Print a series and the straight line through it; return the panel that shows both."""
    x, (wall, processor) = [a for a, _ in series], np.array([b for _, b in series]).T
    slope, start = np.polyfit(x, processor, 1)
    rows = (f"{a:g}: {w:.0f}/{p:.0f}" for a, w, p in zip(x, wall, processor, strict=True))
    click.echo(f"{title}, wall/processor ms: " + ", ".join(rows))
    click.echo(f"  processor: {start:.0f} + {slope:.1f} x ms, r2 {np.corrcoef(x, processor)[0, 1] ** 2:.3f}")
    line = [(0.0, start), (x[-1], start + slope * x[-1])]
    return Panel(title, what, "processor ms a sample", {"median": list(zip(x, processor, strict=True)), "-line": line})


@click.command()
@click.option("--model", default="released", show_default=True)
@click.option("--plot", "path", type=click.Path(path_type=Path), help="SVG file to write.")
@click.option("--only-bar", is_flag=True, help="Twenty faces in 1280x720 and nothing else: a few seconds.")
def main(model: str, path: Path | None, only_bar: bool) -> None:
    """Print wall and processor milliseconds a sample by faces and by pixels, with the straight line through them.

    Processor time (both threads together) hardly depends on what else the machine does; wall time does.
    """
    rng = np.random.default_rng(0)
    portraits = [scenes.cut(p, 1.8) for p in scenes.portraits()]
    bundle = Bundle.load(find(model))
    with (
        Detector(config.Detect(), threads=2) as detector,
        Classifier(bundle, threads=2, faces_per_frame=1000) as classifier,
    ):

        def cost(count, size):
            heads = [portraits[i % 4] for i in range(count)]
            return timed(detector, classifier, scenes.compose(heads, 40, rng, size=size))

        wall, processor = cost(20, (1280, 720))
        click.echo(
            f"twenty faces in 1280x720: {wall:.0f} ms a sample (bar 250), {processor:.0f} ms of processor time; "
            f"RSS {rss_bytes() / 1e6:.0f} MB (bar 300); load {os.getloadavg()[0]:.1f}"
        )
        if only_bar:
            return
        by_faces = [(n, cost(n, (1280, 720))) for n in (1, 10, 20, 40, 60)]
        sizes = ((1280, 720), (1600, 900), (1920, 1080), (2560, 1440))
        by_pixels = [(w * h / 1e6, cost(5, (w, h))) for w, h in sizes]
    panels = report("1280x720, by faces", by_faces, "faces"), report("5 faces, by pixels", by_pixels, "megapixels")
    if path:
        draw(path, *panels)


if __name__ == "__main__":
    main()
