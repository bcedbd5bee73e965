"""What several commands do with their options."""

import math
from typing import Any

import click

from agent.errors import UsageError


class Number(click.FloatRange):
    """A number in a range; "nan", which is in none, is refused (click lets it pass)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


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
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--broker: expected host:port, got {text!r}")
    return host.strip("[]"), int(port)
