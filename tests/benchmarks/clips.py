"""The two real clips: in how many frames everybody is found, and how many seats their window has.

    python -m tests.benchmarks.clips DIR

Bars: classroom, all four in 95 % of the frames and exactly four seats; head pose, both in every frame and exactly
two seats. A person is found by a box whose middle is within 15 px of the seat, or in their half of the picture.
"""

import math
from pathlib import Path

import click
import numpy as np

from agent import config
from agent.vision.detect import Detector
from agent.vision.seats import Seats
from tests.benchmarks.common import scenes

SEATS = ((73, 162), (134, 137), (238, 139), (314, 167))
"""The four people's faces in classroom.gif, pixels."""


def classroom(centres):
    """Return how many of the four are found, and how many boxes belong to nobody."""
    near = [[math.dist(c, seat) < 15 for seat in SEATS] for c in centres]
    return (int(np.any(near, axis=0).sum()) if near else 0), sum(not any(row) for row in near)


def two_heads(centres):
    """Return how many of the two halves hold a face, and how many boxes there are beside the two."""
    found = len({x < 240 for x, _ in centres})
    return found, len(centres) - found


CLIPS = (("classroom.gif", classroom, 4), ("head-pose-face-detection-female-and-male.gif", two_heads, 2))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--smallest-face", default=24, show_default=True, help="detect.smallest_face_px")
def main(folder: Path, smallest_face: int) -> None:
    """Print one line a clip."""
    for name, judge, people in CLIPS:
        seats, rows = Seats(), []
        with Detector(config.Detect(smallest_face_px=smallest_face), threads=2) as detector:
            for picture in scenes.video(folder / name):
                boxes = detector.boxes(picture)
                seats.add(boxes)
                rows.append(judge([(b.x + b.width / 2, b.y + b.height / 2) for b in boxes]))
        found, others = np.array(rows).T
        click.echo(f"{name}: all {people} in {np.mean(found == people):.1%} of {len(rows)} frames, "
                   f"{others.sum()} other boxes, {len(set(seats.merged().values()))} seats")  # fmt: skip


if __name__ == "__main__":
    main()
