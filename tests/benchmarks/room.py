"""A composed room as a video file, for `fer-agent bench`: so many heads that sway, one frame a second.

python -m tests.benchmarks.room FILE.avi [--people 20] [--width 40] [--frames 60]
fer-agent bench FILE.avi --repeat 60 --fps 0.2 --seconds 1000     # an hour of video
"""

from pathlib import Path

import click
import cv2
import numpy as np

from tests.benchmarks.common import scenes


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--people", default=20, show_default=True)
@click.option("--width", default=40, show_default=True, help="Of a face, pixels.")
@click.option("--frames", default=60, show_default=True)
@click.option("--hide/--all", default=False, help="Hide every third for a third of the time.")
def main(path: Path, people: int, width: int, frames: int, hide: bool) -> None:
    """Write Motion JPEG, 1280x720."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 1, (1280, 720))
    for picture in scenes.clip(people, width, frames, np.random.default_rng(0), hide=hide):
        writer.write(picture)
    writer.release()


if __name__ == "__main__":
    main()
