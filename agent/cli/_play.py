"""What `replay` and `demo` have in common: a video through the whole agent, until it ends or time is up."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from agent import pipeline
from agent.cli._options import split_broker
from agent.config import Settings
from agent.config_file import load
from agent.insight.privacy import Gate
from agent.records import Frame, Summary
from agent.stages import Stages

AGENT = {"site": "demo", "room": "room", "id": "replay"}


def settings_of(
    source: str,
    *,
    window_s: float,
    fps: float,
    k_min: int | None,
    smallest_face: int,
    threads: int,
    model: str = "released",
    broker: tuple[str, int] | None = None,
) -> Settings:
    """The options as a configuration. Raises ConfigError."""
    values: Mapping[str, Any] = {
        "agent.id": AGENT["id"],
        "camera.source": source,
        "camera.fps": fps,
        "detect.smallest_face_px": smallest_face,
        "classify.threads": threads,
        "classify.model": model,
        "engagement.window_s": window_s,
        "mqtt.host": broker[0] if broker else "127.0.0.1",
        "mqtt.port": broker[1] if broker else 1883,
        **({} if k_min is None else {"privacy.k_min": k_min}),
    }
    return load(None, environ={}, overrides=values).settings


def broker_of(text: str | None) -> tuple[str, int] | None:
    """(host, port) of --broker, if it was given. Raises UsageError."""
    return None if text is None else split_broker(text)


def play(
    frames: Iterable[Frame],
    stages: Stages,
    settings: Settings,
    publish: Callable[[Summary], None],
    *,
    seconds: float | None,
) -> None:
    """Run the loop until `frames` ends, or for `seconds` of wall time."""
    pipeline.run(
        _until(frames, seconds), stages.detect, stages.classify, stages.window, Gate(settings.privacy), publish
    )


def _until(frames: Iterable[Frame], seconds: float | None) -> Iterator[Frame]:
    if seconds is None:
        return iter(frames)
    end = time.monotonic() + seconds
    return itertools.takewhile(lambda _: time.monotonic() < end, frames)


class Tally:
    """Counts what was shown, for the last line."""

    def __init__(self, k_min: int) -> None:
        self._k_min, self.windows, self.withheld, self.few = k_min, 0, 0, 0

    def add(self, window: Mapping[str, Any]) -> None:
        """Count one payload."""
        self.windows += 1
        self.withheld += window["suppressed"] is not None
        # The last window of a video is often too short for anybody to count: that says nothing about the people.
        self.few += window["suppressed"] == "k_min" and not window["partial"]

    def tell(self, what: str) -> None:
        """Say on stderr what came, and what to do about windows that were withheld."""
        click.echo(f"{what}: {self.windows} windows, {self.withheld} withheld", err=True)
        if self.few:
            click.echo(
                f"withheld for k_min: fewer than {self._k_min} people with enough samples; for a video file, "
                "--k-min 2 shows more",
                err=True,
            )


def file_name(source: str) -> str:
    """A short name of a source for messages."""
    return source if "://" in source else Path(source).name
