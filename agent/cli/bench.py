"""`fer-agent bench [VIDEO]`: how long every stage takes on this machine, and how much memory."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import click
import numpy as np

from agent import config
from agent.cli._options import Number
from agent.config.words import without_login
from agent.device.memory import rss_bytes
from agent.errors import InputError
from agent.records import Frame
from agent.vision import demo_clip
from agent.vision.capture import open_source
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle, find
from agent.vision.seats import Seats

STAGES: Final = ("read", "detect", "classify", "seats", "sample")
"""As printed; detect includes alignment and the quality gate, sample is everything after read."""

WARM_UP: Final = 3
"""First samples, not counted: caches fill and memory is laid out."""

WINDOW: Final = 60
"""Samples after which seats are forgotten, as a window does."""


@dataclass
class Measured:
    """What a run gathers."""

    ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Milliseconds of every sample by stage."""
    faces: int = 0
    classified: int = 0
    rss_mb: list[float] = field(default_factory=list)
    """Resident memory after every sample, megabytes."""

    def report(self, period_ms: float) -> dict[str, float | int | dict[str, dict[str, float]]]:
        """Return the numbers that are printed."""
        counted = {stage: self.ms[stage][min(WARM_UP, len(self.ms[stage]) - 1) :] for stage in STAGES}
        sample = np.array(counted["sample"])
        settled = self.rss_mb[len(self.rss_mb) // 12 :]
        return {
            "samples": len(self.ms["sample"]),
            "stages_ms": {
                stage: {"p50": round(float(np.percentile(v, 50)), 2), "p95": round(float(np.percentile(v, 95)), 2)}
                for stage, v in counted.items()
            },
            "frames_per_s": round(1000 / float(sample.mean()), 2),
            "faces_per_sample": round(self.faces / len(self.ms["sample"]), 2),
            "faces_per_s": round(1000 * self.classified / sum(self.ms["sample"]), 1),
            "rss_mb": round(max(self.rss_mb), 1),
            "rss_growth_mb": round(settled[-1] - settled[0], 1),
            "period_used": round(float(np.percentile(sample, 95)) / period_ms, 3),
        }


@click.command(epilog="Example: fer-agent bench lesson.mp4 --seconds 30")
@click.argument("video", required=False)
@click.option("--model", default="released", show_default=True, metavar="BUNDLE", help="Name or folder of a bundle.")
@click.option("--fps", type=Number(0.1, 60), default=1.0, show_default=True, help="Samples per second.")
@click.option("--smallest-face", type=click.IntRange(16, 300), default=24, show_default=True, metavar="PX")
@click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Threads of the runtime.")
@click.option("--runtime", type=click.Choice(["auto", "litert", "tflite-runtime"]), default="auto", show_default=True)
@click.option("--seconds", type=Number(0, min_open=True), default=20.0, show_default=True, help="Wall time.")
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Play the video this many times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else, on stdout.")
def command(
    video: str | None,
    model: str,
    fps: float,
    smallest_face: int,
    threads: int,
    runtime: str,
    seconds: float,
    repeat: int,
    as_json: bool,
) -> None:
    """Measure every stage on VIDEO (a file, URL or camera), or on the demo's classroom of eight people.

    Prints the median and the 95th percentile of each stage in milliseconds, frames and faces a second, the largest
    resident memory and how much it grew after the first twelfth, and the share of the sampling period that is used.
    """
    bundle = Bundle.load(find(model))
    detector = Detector(config.Detect(smallest_face_px=smallest_face), threads=threads, runtime=runtime)
    classifier = Classifier(bundle, threads=threads, runtime=runtime, faces_per_frame=config.Classify().faces_per_frame)
    measured = Measured()
    with detector, classifier:
        for turn in range(repeat):
            left = seconds - sum(map(sum, (measured.ms["read"], measured.ms["sample"]))) / 1000
            if turn and left <= 0:
                break
            with _source(video, fps) as frames:
                _run(frames, detector, classifier, measured, left)
    if not measured.ms["sample"]:
        raise InputError(f"{without_login(video or 'the demo')}: expected at least one frame, got none")
    report = {"backend": classifier.backend, "model": bundle.card.id, **measured.report(1000 / fps)}
    click.echo(json.dumps(report) if as_json else _text(report, fps))


def _source(video: str | None, fps: float) -> AbstractContextManager[Iterable[Frame]]:
    """Return the frames of `video`, or of the demo's clip, made in memory."""
    if video is not None:
        return open_source(video, fps=fps)
    pictures = demo_clip.frames(20.0 if fps >= 1 else 20.0 / fps, fps)
    return nullcontext(Frame(picture, number / fps) for number, picture in enumerate(pictures))


def _run(frames: Iterable[Frame], detector: Detector, classifier: Classifier, into: Measured, seconds: float) -> None:
    """Take every frame through all stages, until they end or `seconds` of wall time are over."""
    seats = Seats()
    end = time.perf_counter() + seconds
    for frame in _timed(frames, into.ms["read"]):
        times = [time.perf_counter()]
        faces = detector(frame)
        times.append(time.perf_counter())
        readings = classifier(frame, faces)
        times.append(time.perf_counter())
        seats.add([reading.box for reading in readings])
        if len(into.ms["sample"]) % WINDOW == WINDOW - 1:
            seats.merged()
            seats.reset()
        times.append(time.perf_counter())
        for stage, took in zip(("detect", "classify", "seats"), np.diff(times), strict=True):
            into.ms[stage].append(1000 * float(took))
        into.ms["sample"].append(1000 * (times[-1] - times[0]))
        into.faces += len(faces)
        into.classified += sum(reading.probabilities is not None for reading in readings)
        into.rss_mb.append(rss_bytes() / 1e6)
        if times[-1] > end:
            return


def _timed(frames: Iterable[Frame], into: list[float]) -> Iterator[Frame]:
    """Yield `frames`, noting how long each took to come, milliseconds."""
    source = iter(frames)
    while True:
        start = time.perf_counter()
        frame = next(source, None)
        if frame is None:
            return
        into.append(1000 * (time.perf_counter() - start))
        yield frame


def _text(report: Mapping[str, object], fps: float) -> str:
    stages = report["stages_ms"]
    assert isinstance(stages, dict)
    lines = [f"{report['model']} on {report['backend']}, {report['samples']} samples", "stage       p50 ms   p95 ms"]
    lines += [f"{stage:<10} {v['p50']:>7.1f} {v['p95']:>8.1f}" for stage, v in stages.items()]
    lines += [
        f"frames/s    {report['frames_per_s']}",
        f"faces/s     {report['faces_per_s']} ({report['faces_per_sample']} faces a sample)",
        f"RSS         {report['rss_mb']} MB, grew by {report['rss_growth_mb']} MB",
        f"period      {100 * float(str(report['period_used'])):.0f} % used at {fps:g} samples/s (p95)",
    ]
    return "\n".join(lines)
