"""Seats counted on composed clips of known people, and in rooms without people.

    python -m tests.benchmarks.crowds [--windows 20] [--empty 100]

Bars: within one of the truth in 90 % of windows; no seat in a window without people.
"""

import click
import numpy as np

from agent import config
from agent.vision.detect import Detector
from agent.vision.seats import Seats
from tests.benchmarks.common import scenes


def counted(detector, people, frames, rng):
    """Return the seats of one window."""
    seats = Seats()
    for picture in scenes.clip(people, 40, frames, rng):
        seats.add(detector.boxes(picture))
    return len(set(seats.merged().values()))


@click.command()
@click.option("--windows", default=20, show_default=True, help="Windows with 10-30 people.")
@click.option("--empty", default=100, show_default=True, help="Windows without people.")
@click.option("--frames", default=10, show_default=True, help="Frames a window.")
def main(windows: int, empty: int, frames: int) -> None:
    """Print how often the count is right."""
    rng = np.random.default_rng(0)
    with Detector(config.Detect(), threads=2) as detector:
        off = []
        for number in range(windows):
            people = (10, 15, 20, 25, 30)[number % 5]
            off.append(counted(detector, people, frames, rng) - people)
        click.echo(f"{windows} windows of 10-30 people, a third hidden for a third of the time: "
              f"within one in {np.mean(np.abs(off) <= 1):.0%}, off by {sorted(off)}")  # fmt: skip
        ghosts = [counted(detector, 0, max(2, frames // 3), rng) for _ in range(empty)]
        click.echo(f"{empty} windows without people: {sum(ghosts)} seats")


if __name__ == "__main__":
    main()
