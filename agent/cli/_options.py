"""What several commands do with their options."""

import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from agent.config import HOST, Mqtt
from agent.config.words import without_login
from agent.errors import CannotWriteError, UsageError
from agent.insight.engagement import LEAST_SAMPLES

VERSIONS: Final = ("5", "3.1.1")
"""Of MQTT, as `mqtt.version` has them."""


class Number(click.FloatRange):
    """A number in a range; "nan", which is in none, is refused (click lets it pass)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


def expect_writable(path: Path) -> None:
    """Raise CannotWriteError before the work what would come after it: a folder has this name, or its own folder is
    missing or closed."""
    with suppress(PermissionError):  # a closed folder is no missing one
        if path.is_dir():
            raise CannotWriteError(f"{path}: expected a file to write, got a folder")
        if not path.parent.is_dir():
            raise CannotWriteError(f"{path}: expected a folder to write to, got {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise CannotWriteError(f"{path}: expected a folder that this user can write, got {path.parent}")


def check_window(window_s: float, fps: float) -> None:
    """Raise UsageError for --window and --fps that give fewer frames a window than anybody can be counted by."""
    if (frames := window_s * fps) < LEAST_SAMPLES:
        longer, faster = (math.ceil(round(LEAST_SAMPLES / other * 10, 6)) / 10 for other in (fps, window_s))
        have = f"--window {window_s:g} at --fps {fps:g} is {frames:g} frames a window"
        raise UsageError(f"{have}; expected at least {LEAST_SAMPLES}: --window {longer:g} or --fps {faster:g}")


def mqtt_version(command: Any) -> Any:
    """Add --mqtt-version, which the command takes as `mqtt_version`."""
    told = "Protocol; 3.1.1 for a broker without MQTT 5: it hides what the broker's ACL refuses."
    option = click.option("--mqtt-version", type=click.Choice(VERSIONS), default="5", show_default=True, help=told)
    return option(command)


def broker_settings(broker: str, version: str, username: str | None, ca_file: Path | str | None) -> Mqtt:
    """Return the settings of a command with --broker, --mqtt-version, --username and --ca-file, which turns TLS on."""
    host, port = split_broker(broker)
    where = {"host": host, "port": port, "version": version, "username": username}
    return Mqtt.model_validate(where | {"tls": ca_file is not None, "ca_file": ca_file})


def split_broker(text: str) -> tuple[str, int]:
    """Return (host, port) of "host:port", "[v6]:port", or "host" or "v6" alone (port 1883).

    Raises
    ------
    UsageError
        neither of these
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and "]" not in host):
        host, port = text, "1883"
    host = host.removeprefix("[").removesuffix("]")
    if not re.match(HOST, host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--broker: expected host:port, no scheme and no login, got {without_login(text)!r}")
    return host, int(port)
