"""`fer-agent demo [VIDEO]`: the whole agent on one screen, over a real broker, without camera, account or GPU."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import click

from agent.cli._live import WindowView, window_of
from agent.cli._play import Playing, Tally, file_name, play, playing
from agent.config import Mqtt, Settings
from agent.delivery.embedded import EmbeddedBroker
from agent.delivery.publish import Publisher
from agent.delivery.subscribe import Subscriber
from agent.delivery.topics import Topics
from agent.delivery.wallclock import media_clock, system_clock
from agent.errors import PolicyError, UnavailableError
from agent.insight.privacy import PROFILES
from agent.records import Frame
from agent.stages import opened
from agent.vision import demo_clip
from agent.vision.camera import LiveCamera, Notice
from agent.vision.capture import is_camera, open_source
from agent.vision.model_card import Bundle, find
from agent.vision.video import VideoFile, check_exists

_LESSON_S: Final = 60.0
"""Length of the demo's own lesson, seconds."""
_SMALLEST_PX: Final = 40
"""Smallest face to find there, pixels: its seats are 44 wide and more, and the search is what takes the time."""
_LAST_S: Final = 3.0
"""Longest wait for the last windows to come back from the broker."""


@click.command(epilog="Example: fer-agent demo --seconds 30")
@click.argument("video", required=False)
@playing
def command(video: str | None, options: Playing) -> None:
    """Play VIDEO (a file, stream URL or camera index) through the whole agent, and show what arrives at the broker.

    Without VIDEO it plays a minute of a classroom made of two public-domain portraits, eight seats. Without --broker
    it starts one of its own on 127.0.0.1. So it needs no camera, account or network, and leaves nothing behind. On
    your own broker its last status, meta and window stay retained, under fer/v1/demo/room/replay-…
    In the table "…" marks a window that was cut short.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the broker's folder must not stay
    address = options.address()
    if video is not None:
        _check(video, options.k_min)
    elif options.smallest_face is None:
        options = replace(options, smallest_face=_SMALLEST_PX)
    bundle = Bundle.load(find(options.model))
    with ExitStack() as stack:
        if address is None:
            own = stack.enter_context(EmbeddedBroker())
            address = (own.host, own.port)
        settings = options.settings(video or "the demo's classroom", address)
        frames = stack.enter_context(_frames(video, options.fps))
        stages = stack.enter_context(opened(settings, bundle))
        name = file_name(video) if video else "eight seats of a made-up classroom"
        headline = f"{name} → {bundle.card.id} on {stages.made_by.backend}"
        live = video is not None and is_camera(video)
        tally = Tally(stages.made_by.k_min, options.fps, frames)
        screen = stack.enter_context(_Screen(settings, tally, headline, as_json=options.as_json))
        clock = system_clock if live else media_clock()
        publisher = stack.enter_context(Publisher(settings, stages.made_by, clock=clock))
        publisher.state("ready")
        try:
            play(frames, stages, settings, lambda summary: screen.sent(publisher(summary)), seconds=options.seconds)
        except KeyboardInterrupt:
            click.echo("", err=True)


def _check(video: str, k_min: int | None) -> None:
    """Refuse what cannot be played before anything is started, and a room's camera with fewer people than it needs."""
    if not is_camera(video):
        check_exists(video)
        return
    least = PROFILES["standard"].k_min
    if k_min is not None and k_min < least:
        raise PolicyError(f"--k-min: expected at least {least} for a live camera, got {k_min}")
    click.echo(
        "A live camera: inferring emotions in education or at work is prohibited in the EU (AI Act Art. 5(1)(f)) "
        "except for medical or safety reasons; tell the people in the room. For more than a trial: fer-agent run",
        err=True,
    )


def _frames(video: str | None, fps: float) -> AbstractContextManager["VideoFile | LiveCamera | Iterator[Frame]"]:
    return nullcontext(_lesson(fps)) if video is None else open_source(video, fps=fps, realtime=True, notice=_tell)


def _tell(notice: Notice) -> None:
    """Say on stderr what happened to the camera: the windows alone would blame the people."""
    click.echo(f"{notice.reason}: {notice.detail}", err=True)


def _lesson(fps: float) -> Iterator[Frame]:
    """Yield the demo's lesson, as fast as time goes; a machine that is too slow misses frames, as with a camera."""
    began = time.monotonic()
    for number, picture in enumerate(demo_clip.frames(_LESSON_S, fps)):
        at = number / fps
        late = time.monotonic() - began - at
        if late <= 1 / fps:
            time.sleep(max(0.0, -late))
            yield Frame(picture, at)


class _Screen:
    """Context manager: shows the windows as they come back from the broker; without one there, as they are sent."""

    def __init__(self, settings: Settings, tally: Tally, headline: str, *, as_json: bool) -> None:
        """Args: headline: what is played, and by what."""
        self._mqtt: Mqtt = settings.mqtt
        self._topic = Topics.of(settings.agent)("window")
        self._view, self._json = WindowView(as_json=as_json, one_room=True), as_json
        self._tally = tally
        self._headline = headline
        self._subscriber: Subscriber | None = None
        self._thread = threading.Thread(target=self._watch, name="screen", daemon=True)
        self._sent = 0
        self._failure: OSError | None = None
        """Why nothing can be shown any more: stdout is full, or its reader has gone."""

    def __enter__(self) -> Self:
        try:
            self._subscriber = Subscriber(self._mqtt, [self._topic]).__enter__()
        except UnavailableError as error:
            click.echo(f"warning: {error}; going on without a broker, windows wait in memory", err=True)
        if not self._json:
            click.echo(f"{self._headline} → mqtt://{self._mqtt.host}:{self._mqtt.port}/{self._topic}", err=True)
        self._view.__enter__()
        if self._subscriber is not None:
            self._thread.start()
        return self

    def sent(self, window: bytes) -> None:
        """A window was published. Raises the OSError that ended the showing."""
        if self._failure is not None:
            raise self._failure
        self._sent += 1
        if self._subscriber is None:
            self._show(window)

    def _watch(self) -> None:
        assert self._subscriber is not None
        try:
            for message in self._subscriber.messages():
                self._show(message.payload)
        except OSError as error:  # the main thread says it, and ends
            self._failure = error

    def _show(self, window: bytes) -> None:
        payload = window_of(window)
        if payload is not None:
            self._tally.add(payload)
            self._view.show(payload)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is still on its way, and say what came."""
        end = time.monotonic() + _LAST_S
        while error is None and self._failure is None and self._tally.windows < self._sent and time.monotonic() < end:
            time.sleep(0.02)
        if self._subscriber is not None:
            self._subscriber.stop()
            self._thread.join(_LAST_S)
            self._subscriber.__exit__(kind, error, trace)
        self._view.__exit__(kind, error, trace)
        if error is None and self._failure is not None:
            raise self._failure
        if error is None and not self._json:
            self._tally.tell("done")
