"""Which face detector? Recall by size, false alarms and milliseconds a frame, on composed 1280x720 frames.

    python -m tests.benchmarks.detectors --data DIR [--yunet FILE.onnx] [--frames 4]

The first rows are the agent's own detector and its single looks; the same faces, places and disturbances for all.
"""

import time
from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np

from agent import config
from agent.records import Box
from agent.vision import search, tiles, weights
from agent.vision.blazeface import BlazeFace
from agent.vision.detect import Detector
from agent.vision.runtime import choose
from tests.benchmarks.common import faces, scenes

WIDTHS = (24, 32, 48, 64, 96)
DISTURBED = ({}, {"blur": 0.7}, {"noise": 6}, {"brightness": 0.6})


def agent_detector(made):
    """The agent's detector as configured by default."""
    return lambda image: made.boxes(image)


def single_look(network, tile_per_face):
    """One look over tiles: threshold 0.5, no second look."""
    model = replace(network.model, tile_per_face=tile_per_face)

    def find(image):
        levels = tiles.layout(image.shape[1], image.shape[0], 24, model)
        rgb = np.ascontiguousarray(image[:, :, ::-1])
        score, points = search.first_look(network, rgb, levels)
        rows = zip(score.tolist(), points.tolist(), strict=True)
        return [Box(*p[0], p[1][0] - p[0][0], p[1][1] - p[0][1], s) for s, p in rows if s >= 0.5]

    return find


def haar():
    """OpenCV's frontal cascade at full resolution; its box is wider than BlazeFace's."""
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def find(image):
        found = cascade.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 1.1, 3, minSize=(20, 20))
        return [Box(float(x), float(y), float(w), float(h)) for x, y, w, h in found]

    return find


def yunet(path):
    """YuNet of OpenCV's model zoo, whole frame; the user supplies the file."""
    made = cv2.FaceDetectorYN.create(str(path), "", (1280, 720), 0.6, 0.3, 5000)

    def find(image):
        made.setInputSize((image.shape[1], image.shape[0]))
        _, found = made.detect(image)
        return [Box(*map(float, row[:4])) for row in (found if found is not None else ())]

    return find


def frames(pictures, source, width, count):
    """Return `count` scenes with faces `width` px wide, from FER2013 or the portraits, every second one disturbed."""
    rng = np.random.default_rng(width)
    many = []
    for number in range(count):
        if source == "FER2013":
            heads = [scenes.fer_head(p) for p in pictures[rng.choice(len(pictures), (30, 10, 1)[number % 3])]]
        else:
            heads = [scenes.cut(scenes.portraits()[i % 4], 2.2) for i in range((12, 6, 1)[number % 3])]
        many.append(scenes.compose(heads, width, rng, **DISTURBED[number % len(DISTURBED)]))
    return many


def row(name, find, sets):
    """Print one detector's row."""
    shares, false, took = [], [], []
    for many in sets:
        counts = []
        for scene in many:
            start = time.perf_counter()
            boxes = find(scene.image)
            took.append(time.perf_counter() - start)
            counts.append(scenes.match(scene.faces, boxes))
        shares.append(sum(c[0] for c in counts) / sum(len(s.faces) for s in many))
        false += [c[1] for c in counts]
    click.echo(f"| {name} | " + " | ".join(f"{s:.3f}" for s in shares)
          + f" | {np.mean(false):.2f} | {1000 * np.median(took):.0f} |")  # fmt: skip


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--yunet", "onnx", type=click.Path(path_type=Path, exists=True))
@click.option("--frames", "count", default=6, show_default=True, help="Frames of each size.")
@click.option("--split", default="test", show_default=True)
def main(data: Path, onnx: Path | None, count: int, split: str) -> None:
    """Print two tables: FER2013's tight pictures, and whole heads of two portraits."""
    pictures, _ = faces(data, split)
    with (
        Detector(config.Detect(), threads=2) as made,
        BlazeFace(weights.SHORT_RANGE, choose(), threads=2) as short,
        BlazeFace(weights.FULL_RANGE, choose(), threads=2) as full,
    ):
        detectors = {
            "agent (short range, small tiles, near looks)": agent_detector(made),
            "short range tiled": single_look(short, 5.0),
            "full range tiled": single_look(full, 10.0),
            "full range, finer tiles": single_look(full, 7.0),
        }
        if hasattr(cv2, "CascadeClassifier"):
            detectors["Haar, full resolution"] = haar()
        if onnx is not None:
            detectors["YuNet, whole frame"] = yunet(onnx)
        for source in ("FER2013", "portraits"):
            sets = [frames(pictures, source, width, count) for width in WIDTHS]
            total = sum(len(s.faces) for many in sets for s in many)
            click.echo(
                f"\n{source}: recall by face width (px), {total} faces in {count * len(WIDTHS)} frames of 1280x720"
            )
            click.echo("| detector | " + " | ".join(map(str, WIDTHS)) + " | false alarms/frame | median ms/frame |")
            click.echo("|---" * (len(WIDTHS) + 3) + "|")
            for name, find in detectors.items():
                row(name, find, sets)


if __name__ == "__main__":
    main()
