"""A stream is a camera for `replay` and `demo`, whatever its address ends in."""

import pytest
from click.testing import CliRunner

from agent.cli import demo, replay
from agent.errors import PolicyError, UsageError

STREAMS = ("http://127.0.0.1:1/live.mp4", "https://127.0.0.1:1/stream.ts?x=1", "rtsp://127.0.0.1:1/live")


@pytest.mark.parametrize("source", STREAMS)
def test_a_stream_is_not_replayed(source: str) -> None:
    """`replay` is for files alone."""
    got = CliRunner().invoke(replay.command, [source, "--k-min", "2"])
    assert isinstance(got.exception, UsageError), got.output
    assert "expected a video file" in str(got.exception)


@pytest.mark.parametrize("source", STREAMS)
def test_a_stream_shows_no_fewer_people_than_a_camera(source: str) -> None:
    """`demo --k-min 2` on a stream is refused before anything is opened."""
    got = CliRunner().invoke(demo.command, [source, "--k-min", "2"])
    assert isinstance(got.exception, PolicyError), got.output
