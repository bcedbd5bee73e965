"""What `replay` and `demo` have in common: a video through the whole agent, until it ends or time is up."""

import functools
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import click

from agent import pipeline
from agent.cli._options import Number, check_window, mqtt_version, split_broker
from agent.config import Settings
from agent.config.file import load
from agent.config.words import without_login
from agent.insight.privacy import Gate
from agent.records import Frame, Summary
from agent.stages import Stages
from agent.vision.camera import LiveCamera
from agent.vision.video import VideoFile

_TOO_FEW: Final = 2 / 3
"""Share of the frames that should have been looked at below which the machine is at fault, not the people."""

_OPTIONS: Final = (
    click.option("--json", "as_json", is_flag=True, help="Print one window payload a line, nothing else, on stdout."),
    click.option(
        "--window",
        "window_s",
        type=Number(1, 3600),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="Window length.",
    ),
    click.option(
        "--fps",
        type=Number(0.1, 60),
        default=2.0,
        show_default=True,
        help="Frames looked at per second of video.",
    ),
    click.option(
        "--k-min",
        type=click.IntRange(2, 1000),
        default=None,
        metavar="N",
        help="Fewest people behind a result [the standard profile's 5].",
    ),
    click.option(
        "--model", default="released", show_default=True, metavar="BUNDLE", help="Name or folder of a model bundle."
    ),
    click.option(
        "--smallest-face",
        type=click.IntRange(16, 300),
        default=None,
        metavar="PX",
        help="Smallest face to find, pixels wide [24; 40 in the demo's own classroom, which has none smaller].",
    ),
    click.option(
        "--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Threads of the TFLite runtime."
    ),
    click.option(
        "--seconds",
        type=Number(0, min_open=True),
        default=None,
        metavar="N",
        help="Stop after this much wall time.",
    ),
    click.option("--broker", default=None, metavar="HOST:PORT", help="Publish to this MQTT broker."),
    mqtt_version,
)


@dataclass(frozen=True)
class Playing:
    """The options of a command that plays a video."""

    as_json: bool
    window_s: float
    """Seconds."""
    fps: float
    """Frames looked at per second of video."""
    k_min: int | None
    model: str
    smallest_face: int | None
    """Pixels; None is the command's own."""
    threads: int
    seconds: float | None
    """Longest wall time."""
    broker: str | None
    mqtt_version: str

    def address(self) -> tuple[str, int] | None:
        """(host, port) of --broker, if it was given. Raises UsageError."""
        return None if self.broker is None else split_broker(self.broker)

    def settings(self, source: str, address: tuple[str, int] | None) -> Settings:
        """The options as a configuration. Raises UsageError, ConfigError."""
        check_window(self.window_s, self.fps)
        host, port = address or ("127.0.0.1", 1883)
        values: dict[str, Any] = {
            "agent.id": "replay" if self.broker is None else f"replay-{_this_machine()}",
            "camera.source": source,
            "camera.fps": self.fps,
            "classify.threads": self.threads,
            "classify.model": self.model,
            "engagement.window_s": self.window_s,
            "mqtt.host": host,
            "mqtt.port": port,
            # The demo's own broker knows MQTT 5 alone.
            "mqtt.version": "5" if self.broker is None else self.mqtt_version,
        }
        if self.smallest_face is not None:
            values["detect.smallest_face_px"] = self.smallest_face
        if self.k_min is not None:
            values["privacy.k_min"] = self.k_min
        return load(None, environ={}, overrides=values).settings


def _this_machine() -> str:
    """The machine's name as a part of an id: on a broker that people share, two of one id would put each other out."""
    return re.sub("[^a-z0-9]+", "-", socket.gethostname().split(".")[0].lower()).strip("-")[:24] or "here"


def playing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which takes them as `options: Playing`."""

    @functools.wraps(command)
    def with_options(**given: Any) -> Any:
        options = Playing(**{field.name: given.pop(field.name) for field in fields(Playing)})
        return command(options=options, **given)

    made: Callable[..., Any] = with_options
    for option in reversed(_OPTIONS):
        made = option(made)
    return made


def play(
    frames: Iterable[Frame],
    stages: Stages,
    settings: Settings,
    publish: Callable[[Summary], None],
    *,
    seconds: float | None,
) -> None:
    """Run the loop until `frames` ends, or for `seconds` of wall time."""
    gate = Gate(settings.privacy)
    with _until(frames, seconds) as limited:
        pipeline.run(limited, stages.detect, stages.classify, stages.window, gate, publish)


@contextmanager
def _until(frames: Iterable[Frame], seconds: float | None) -> Iterator[Iterable[Frame]]:
    """Yield `frames`, ended after `seconds`; a film is told so also while none of its frames is due."""
    if seconds is None:
        yield frames
        return
    end = time.monotonic() + seconds
    timer = threading.Timer(seconds, frames.stop if isinstance(frames, VideoFile | LiveCamera) else lambda: None)
    timer.start()
    try:
        yield itertools.takewhile(lambda _: time.monotonic() < end, frames)
    finally:
        timer.cancel()


class Tally:
    """Counts what was shown, for the last lines."""

    def __init__(self, k_min: int, fps: float, played: object = None) -> None:
        """Take what the counts are to be compared with.

        Parameters
        ----------
        k_min : people that a result needs
        fps : frames that should be looked at, a second
        played : the source; a film tells at the end how many of its frames came too late to be looked at
        """
        self._k_min, self._fps = k_min, fps
        self._film = played if isinstance(played, VideoFile) else None
        self.windows = self.withheld = self._whole = self._few = self._frames = self._seen = 0
        self._seconds = 0.0

    def add(self, window: Mapping[str, Any]) -> None:
        """Count one payload."""
        self.windows += 1
        self.withheld += window["suppressed"] is not None
        self._seen += window["frames"]
        if not window["partial"]:  # one that is cut short says nothing about people and machine
            self._whole += 1
            self._few += window["suppressed"] == "k_min"
            self._frames += window["frames"]
            self._seconds += (window["end_ms"] - window["start_ms"]) / 1000

    def tell(self, what: str) -> None:
        """Say on stderr what came, and what to do about windows that were withheld."""
        click.echo(f"{what}: {self.windows} window{'s' * (self.windows != 1)}, {self.withheld} withheld", err=True)
        wanted = round(self._seconds * self._fps)
        if self._frames < _TOO_FEW * wanted and self._film and self._film.late == 0:
            rare = f"the film has {self._frames} of the {wanted} frames that --fps {self._fps:g} asks for"
            click.echo(f"{rare}; try a lower --fps, and a longer --window with it", err=True)
        elif self._frames < _TOO_FEW * wanted:
            slow = f"this machine looked at {self._frames} of {wanted} frames: it is too slow or busy"
            click.echo(f"{slow}; try a larger --smallest-face, or --fps 1", err=True)
        elif self._few:
            advice = "; for a video file, --k-min 2 shows more" if self._film else ""
            few = f"withheld for k_min: fewer than {self._k_min} people with enough samples"
            click.echo(few + advice, err=True)
        elif self._film and self._seen == 1:
            click.echo("it has one frame: expected a film, since each face is judged over several frames", err=True)
        elif self.windows and not self._whole:
            click.echo("cut short (…): it ended before its first window did; try a shorter --window", err=True)


def file_name(source: str) -> str:
    """A short name of a source for messages, without a camera's password."""
    shown = without_login(source)
    return shown if "://" in shown else Path(shown).name
