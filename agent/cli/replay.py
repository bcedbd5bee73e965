"""`fer-agent replay VIDEO`: a video through the whole agent, as fast as it goes."""

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from agent.cli._live import WindowView
from agent.cli._play import Playing, Tally, file_name, play, playing
from agent.config import Settings
from agent.delivery import payload
from agent.delivery.publish import Publisher
from agent.delivery.topics import Topics
from agent.delivery.wallclock import media_clock
from agent.errors import UsageError
from agent.records import Summary
from agent.stages import Stages, opened
from agent.vision.capture import is_camera, open_source
from agent.vision.model_card import Bundle, find
from agent.vision.video import check_exists


@click.command(epilog="Example: fer-agent replay lesson.mp4 --json --window 10 --k-min 2")
@click.argument("video")
@playing
@click.option("--realtime", is_flag=True, help="Play at the speed it was recorded at, instead of as fast as possible.")
def command(video: str, options: Playing, realtime: bool) -> None:
    """Play VIDEO (a file) through the whole agent and show each window.

    With --broker the windows are published, too; if no broker answers there, the run goes on and a line says so. On the
    broker the last status, meta and window stay retained, under fer/v1/demo/room/replay-…
    Windows of fewer people than --k-min come without a result; "…" marks one that was cut short. The index is a
    facial-expression proxy, not a measure of learning.
    """
    address = options.address()
    if is_camera(video):
        raise UsageError(f"expected a video file, got {video!r}: a camera or stream is for `run`, or `demo`")
    check_exists(video)
    settings = options.settings(video, address)
    bundle = Bundle.load(find(options.model))
    with open_source(video, fps=options.fps, realtime=realtime) as source, opened(settings, bundle) as stages:
        tally = Tally(stages.made_by.k_min, options.fps, source)
        with (
            WindowView(as_json=options.as_json, one_room=True) as view,
            _sink(settings, stages, address is not None) as publish,
        ):

            def publish_shown(summary: Summary) -> None:
                window = json.loads(publish(summary))
                view.show(window)
                tally.add(window)

            play(source, stages, settings, publish_shown, seconds=options.seconds)
    if not options.as_json:
        tally.tell(file_name(video))


@contextmanager
def _sink(settings: Settings, stages: Stages, publishing: bool) -> Iterator[Callable[[Summary], bytes]]:
    """What takes a summary and returns its payload; with a broker it is sent, with its numbers."""
    clock = media_clock()
    if publishing:
        with Publisher(settings, stages.made_by, clock=clock) as publisher:
            publisher.state("ready")
            if not publisher.wait_connected(5):
                broker = publisher.report()["broker"]
                why = broker["reason"] or f"{broker['address']} does not answer"
                click.echo(f"warning: {why}; going on without a broker, windows wait in memory", err=True)
            yield publisher
        return
    epoch, numbers = uuid.uuid4().hex[:12], itertools.count(1)
    speaker = payload.Speaker(Topics.of(settings.agent), uuid.uuid4().hex[:16], clock(0).utc_ms)
    yield lambda summary: payload.window(
        summary, speaker, stages.made_by, clock(summary.start), epoch=epoch, seq=next(numbers)
    ).encode()
