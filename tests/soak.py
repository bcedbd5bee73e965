"""Soak: the whole agent on video for as long as asked, with a camera, a broker and a clock that misbehave at random.

    python -m tests.soak --minutes 60 --bundle agent/models/released [--video FILE] [--fps 8] [--seed 1]

Everything is real but the room: an MJPEG server that plays the video over HTTP and stalls, hangs up or sends broken
pictures; mosquitto, which is stopped, killed and frozen; a wall clock that is set back and forth. At the end it
counts: crashes, windows lost, numbers used twice, growth of memory, threads and descriptors. Exit 1 if any is wrong.
"""

import argparse
import hashlib
import itertools
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import click
import cv2
import numpy as np

from agent import pipeline
from agent.config import Settings
from agent.delivery.payload import Provenance
from agent.delivery.publish import Publisher
from agent.device.clock import DeviceClock
from agent.device.keeper import Keeper
from agent.device.memory import rss_bytes
from agent.insight import weights
from agent.insight.privacy import Gate
from agent.insight.window import WindowAggregator
from agent.records import Summary
from agent.vision import demo_clip
from agent.vision.capture import open_source
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle
from agent.vision.seats import Seats
from tests.cameras import MjpegServer
from tests.mqtt_world import Mosquitto, wait_until
from tests.reference_subscriber import ReferenceSubscriber

WINDOW_S = 5.0
_GROWTH_MB = 25.0
"""Resident memory may grow by so much from a fifth of the run to its end."""


class Room(MjpegServer):
    """Plays a video round and round, with noise so that no two pictures are alike."""

    def __init__(self, video: Path) -> None:
        self._jpegs = list(self._encoded(video))
        super().__init__(interval_s=0.04)

    def jpeg(self, number: int) -> bytes:
        return self._jpegs[number % len(self._jpegs)]

    @staticmethod
    def _encoded(video: Path):
        rng = np.random.default_rng(0)
        capture = cv2.VideoCapture(str(video))
        while capture.grab():
            image = capture.retrieve()[1]
            noisy = np.clip(image + rng.integers(-2, 3, image.shape), 0, 255).astype(np.uint8)
            yield cv2.imencode(".jpg", noisy)[1].tobytes()


class Mischief(threading.Thread):
    """Does one bad thing after the other until told to stop, and counts them."""

    def __init__(self, room: Room, broker: Mosquitto, wall: "Wall", seed: int) -> None:
        super().__init__(daemon=True)
        self.done = Counter()
        self._room, self._broker, self._wall = room, broker, wall
        self._rng = random.Random(seed)
        self._ended = threading.Event()

    def run(self) -> None:
        deeds = {
            "camera stall": lambda: self._camera("stall"),
            "camera hang-up": lambda: self._camera("close"),
            "camera garbage": lambda: self._camera("garbage"),
            "broker SIGTERM": lambda: self._restart(signal.SIGTERM),
            "broker SIGKILL": lambda: self._restart(signal.SIGKILL),
            "broker frozen": self._freeze,
            "clock set": self._wall.jump,
        }
        while not self._ended.wait(self._rng.uniform(3, 12)):
            name = self._rng.choice(list(deeds))
            deeds[name]()
            self.done[name] += 1

    def stop(self) -> None:
        self._ended.set()
        self.join(60)

    def _camera(self, mode: str) -> None:
        self._room.mode = mode
        self._ended.wait(self._rng.uniform(0.5, 8))
        self._room.mode = "live"

    def _restart(self, number: int) -> None:
        self._broker.end(number)
        self._ended.wait(self._rng.uniform(0, 6))
        self._broker.start()

    def _freeze(self) -> None:
        self._broker.send(signal.SIGSTOP)
        self._ended.wait(self._rng.uniform(0.5, 6))
        self._broker.send(signal.SIGCONT)


class FrugalSubscriber(ReferenceSubscriber):
    """Keeps a hash of every window and no message: what grows here is the agent, which shares this process."""

    def _take(self, topic: str, body: bytes, retained: bool) -> None:
        super()._take(topic, body, retained)
        self.log.clear()

    def _window(self, window: dict, root: str) -> None:
        content = json.dumps({**window, "replay": 0}, sort_keys=True).encode()
        known = {name: window[name] for name in ("agent", "epoch", "seq")}
        super()._window({**known, "sha256": hashlib.sha256(content).digest()}, root)


class Wall:
    """The wall clock, which somebody keeps setting."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._offset = 0.0

    def __call__(self) -> float:
        return time.time() + self._offset

    def jump(self) -> None:
        self._offset = self._rng.choice([0.0, -3600.0, 3600.0, 3e8])


def main() -> int:
    """Run, count, print, and return the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fer-soak-") as name:
        folder = Path(name)
        video = options.video or demo_clip.write(folder / "room.avi", 10)
        found = _soak(options, folder, video)
    bad = [key for key in ("crashes", "windows lost", "numbers used twice") if found[key]]
    bad += ["memory grew"] if found["memory growth MB"] > _GROWTH_MB else []
    bad += ["threads grew"] if found["threads"][1] > found["threads"][0] + 2 else []
    bad += ["descriptors grew"] if found["descriptors"][1] > found["descriptors"][0] + 5 else []
    click.echo(json.dumps({**found, "verdict": bad or "good"}, indent=1))
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--fps", type=float, default=8)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _soak(options: argparse.Namespace, folder: Path, video: Path) -> dict:
    """Return what was counted."""
    closed: Counter[str | None] = Counter()
    samples: list[tuple[float, float, int, int]] = []
    events: Counter[str] = Counter()
    crashes = 0
    wall = Wall(options.seed)
    clock = DeviceClock(wall=wall, is_synced=lambda: True)
    room = Room(video)
    bundle = Bundle.load(options.bundle)
    made_by = Provenance(
        bundle.card.id, bundle.card.sha256, "litert", None, WINDOW_S, "standard", 5, "sharma2019-affine/1"
    )
    with Mosquitto(folder / "broker") as broker, FrugalSubscriber(broker.port) as collector:
        settings = _settings(broker.port, folder, room.url, options.fps)
        mischief = Mischief(room, broker, wall, options.seed)
        mischief.start()
        end = time.monotonic() + options.minutes * 60
        with Publisher(settings, made_by, clock=clock, state_dir=folder / "state") as publisher:
            while time.monotonic() < end:
                try:
                    _run(settings, bundle, publisher, closed, samples, events, clock, end)
                except Exception as error:
                    crashes += 1
                    click.echo(f"crash: {type(error).__name__}: {error}", err=True)
            mischief.stop()
            room.mode = "live"
            stream = collector.stream()
            wait_until(lambda: len(stream.windows) + len(stream.gaps) >= closed.total(), 120, "the backlog")
        room.stop()
        return {
            "minutes": options.minutes,
            "mischief": dict(mischief.done),
            "windows": closed.total(),
            "of them with trouble": {reason: n for reason, n in closed.items() if reason},
            "crashes": crashes,
            "windows lost": closed.total() - len(stream.windows),
            "numbers used twice": len(collector.conflicts),
            "duplicates before dedupe": collector.duplicates,
            "events": dict(events),
            **_growth(samples),
        }


def _settings(port: int, folder: Path, url: str, fps: float) -> Settings:
    camera = {"source": url, "fps": fps, "open_timeout_s": 3, "read_timeout_s": 2, "retry_max_s": 2}
    return Settings.model_validate(
        {
            "agent": {"site": "test", "room": "room", "id": "fer", "state_dir": folder / "state"},
            "camera": camera,
            "detect": {"smallest_face_px": 48},
            "mqtt": {"host": "127.0.0.1", "port": port, "keepalive_s": 5},
        }
    )


def _run(settings, bundle, publisher, closed, samples, events, clock, end) -> None:
    """Wire one agent as `fer-agent run` does and run it until `end`."""

    def publish(summary: Summary) -> None:
        publisher(summary)
        closed[summary.suppressed] += 1
        threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
        samples.append((time.monotonic(), rss_bytes() / 1e6, threads, descriptors))

    def notice(kind: str, reason: str, detail: str) -> None:
        events[reason] += 1
        publisher.event(kind, reason, detail)

    source = open_source(
        settings.camera.source,
        fps=settings.camera.fps,
        camera=settings.camera,
        patient=True,
        notice=lambda n: notice("camera", n.reason, n.detail),
    )
    window = WindowAggregator(Seats(), weights.load("sharma2019-affine/1"), window_s=WINDOW_S, fps=settings.camera.fps)
    period = 1 / settings.camera.fps
    with (
        source,
        Detector(settings.detect, threads=1) as detector,
        Classifier(bundle, threads=1, faces_per_frame=32) as classifier,
        Keeper(event=notice, period_s=period, progress={"camera": (source.progressed_at, 30)}, clock=clock) as keeper,
    ):
        frames = itertools.takewhile(lambda _: time.monotonic() < end, keeper.frames(source))
        stages = keeper.stage("detect", detector), keeper.stage("classify", classifier)
        pipeline.run(frames, *stages, window, Gate(settings.privacy), publish)


def _growth(samples: list[tuple[float, float, int, int]]) -> dict:
    """Return how memory, threads and descriptors went from a fifth of the run to its end (medians of ten windows)."""
    early, late = samples[len(samples) // 5 :][:10], samples[-10:]

    def middle(rows: list, column: int) -> float:
        return float(np.median([row[column] for row in rows]))

    tenths = [samples[i * (len(samples) - 1) // 10] for i in range(1, 11)]
    return {
        "memory MB by tenth": [round(row[1], 1) for row in tenths],
        "memory MB": [round(middle(early, 1), 1), round(middle(late, 1), 1)],
        "memory growth MB": round(middle(late, 1) - middle(early, 1), 1),
        "threads": [middle(early, 2), middle(late, 2)],
        "descriptors": [middle(early, 3), middle(late, 3)],
    }


if __name__ == "__main__":
    if shutil.which("mosquitto") is None and shutil.which("mosquitto", path="/usr/sbin") is None:
        sys.exit("mosquitto is not here; run: apt install mosquitto")
    sys.exit(main())
