"""How many faces the agent's detector finds, by width, by number of faces, and in bad pictures; and false alarms.

    python -m tests.benchmarks.recall --data DIR [--size 1280x720] [--rounds 1] [--plot recall.svg]

Bars: recall >= 0.95 from 32 px on and >= 0.85 at 24 px, false alarms <= 0.05 a frame, in each row.
Two kinds of faces: FER2013 pictures, which are cut tight and show neither hair nor chin (harder than a classroom),
and whole heads of two portraits (easier than a classroom: two people).
"""

from collections import defaultdict
from pathlib import Path

import click
import numpy as np

from agent import config
from agent.vision.detect import Detector
from tests.benchmarks.common import faces, scenes
from tests.benchmarks.plots import Panel, draw

SOURCES = ("FER2013", "portraits")
WIDTHS = (24, 32, 48, 64, 96)
TROUBLES = {
    "clear": {},
    "blur 0.7 px": {"blur": 0.7},
    "noise 8 grey levels": {"noise": 8.0},
    "light x 0.4": {"brightness": 0.4},
    "light x 1.6": {"brightness": 1.6},
}
FRAMES = {30: 1, 10: 2, 1: 8}
"""Frames a round by number of faces."""


def heads(source, pictures, count, width, size, rng):
    """Return `count` heads, or as many as have room at this width."""
    if source == "FER2013":
        return [scenes.fer_head(p) for p in pictures[rng.choice(len(pictures), count, replace=False)]]
    room = (size[0] // (2 * width + 8)) * (size[1] // (2 * width + 8))
    return [scenes.cut(scenes.portraits()[i % 4], 1.8) for i in range(min(count, room))]


def measured(find, source, pictures, size, rounds):
    """Return {(width, trouble, faces): [(found, faces, false alarms) of each frame]}."""
    counts = defaultdict(list)
    for width in WIDTHS:
        rng = np.random.default_rng(width)
        for trouble, what in TROUBLES.items():
            for many, times in FRAMES.items():
                for _ in range(times * rounds):
                    chosen = heads(source, pictures, many, width, size, rng)
                    scene = scenes.compose(chosen, width, rng, size=size, **what)
                    found, false = scenes.match(scene.faces, find(scene.image))
                    counts[width, trouble, many].append((found, len(scene.faces), false))
    return counts


def recall(counts, **wanted):
    """Return (share found, false alarms a frame, frames, faces) of those rows that are `wanted`."""
    names = ("width", "trouble", "many")
    rows = [r for key, part in counts.items() for r in part
            if all(dict(zip(names, key, strict=True))[k] == v for k, v in wanted.items())]  # fmt: skip
    found, total, false = np.sum(rows, axis=0)
    return found / total, false / len(rows), len(rows), int(total)


def table(counts):
    """Print recall by width: one row a trouble, one a number of faces."""
    click.echo("| | " + " | ".join(f"{w} px" for w in WIDTHS) + " | false alarms/frame | frames | faces |")
    click.echo("|---" * (len(WIDTHS) + 4) + "|")
    rows = {name: {"trouble": name} for name in TROUBLES} | {f"{n} a frame": {"many": n} for n in sorted(FRAMES)}
    for name, wanted in (rows | {"all": {}}).items():
        shares = " | ".join(f"{recall(counts, width=w, **wanted)[0]:.3f}" for w in WIDTHS)
        _, false, frames, total = recall(counts, **wanted)
        click.echo(f"| {name} | {shares} | {false:.3f} | {frames} | {total} |")


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--split", default="test", show_default=True)
@click.option("--size", default="1280x720", show_default=True)
@click.option("--smallest-face", default=24, show_default=True, help="detect.smallest_face_px")
@click.option("--source", "sources", multiple=True, default=SOURCES, show_default=True, type=click.Choice(SOURCES))
@click.option("--rounds", default=1, show_default=True, help="Each is 275 frames a source.")
@click.option("--plot", "path", type=click.Path(path_type=Path), help="SVG file to write.")
def main(data: Path, split: str, size: str, smallest_face: int, sources: tuple, rounds: int, path: Path | None):
    """Print a table for FER2013 pictures and one for whole heads."""
    pictures, _ = faces(data, split)
    frame = tuple(map(int, size.split("x")))
    panels = []
    with Detector(config.Detect(smallest_face_px=smallest_face), threads=2) as made:
        for source in sources:
            counts = measured(made.boxes, source, pictures, frame, rounds)
            click.echo(f"\n{source}, {size}, faces searched from {smallest_face} px: recall by face width")
            table(counts)
            lines = {name: [(w, recall(counts, width=w, trouble=name)[0]) for w in WIDTHS] for name in TROUBLES}
            bar = {"-bar": [(24, 0.85), (31.9, 0.85), (32, 0.95), (96, 0.95)]}
            panels.append(Panel(f"{source} in {size}", "face width, px", "recall", lines | bar, start=0.8))
    if path:
        draw(path, *panels)


if __name__ == "__main__":
    main()
