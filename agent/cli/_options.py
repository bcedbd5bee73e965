"""Options and checks that several commands share."""

from collections.abc import Callable
from typing import Any, Final

import click

from agent.errors import UsageError


def split_broker(text: str) -> tuple[str, int]:
    """Return (host, port) of "host:port", "[v6]:port" or "host" (port 1883).

    Raises
    ------
    UsageError
        neither of these
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "1883"
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--broker: expected host:port, got {text!r}")
    return host.strip("[]"), int(port)


_PLAYING: Final = (
    click.option("--json", "as_json", is_flag=True, help="Print one window payload a line, nothing else, on stdout."),
    click.option(
        "--window",
        "window_s",
        type=click.FloatRange(1, 3600),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="Window length.",
    ),
    click.option(
        "--fps",
        type=click.FloatRange(0.1, 60),
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
        default=24,
        show_default=True,
        metavar="PX",
        help="Smallest face to find, pixels wide.",
    ),
    click.option(
        "--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Threads of the TFLite runtime."
    ),
    click.option(
        "--seconds",
        type=click.FloatRange(0, min_open=True),
        default=None,
        metavar="N",
        help="Stop after this much wall time.",
    ),
    click.option("--broker", default=None, metavar="HOST:PORT", help="Publish to this MQTT broker."),
)


def playing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the commands that play a video."""
    for option in reversed(_PLAYING):
        command = option(command)
    return command
