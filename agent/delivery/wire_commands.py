"""The payloads of commands and their replies, as types: the other half of `wire`."""

from typing import Literal

from pydantic import Field

from agent.config import Id
from agent.delivery.wire import Range, Seq, Text, Wire


class Pause(Wire):
    """cmd/pause"""

    reason: Text | None = None


class Resend(Wire):
    """cmd/resend"""

    from_: Seq = Field(alias="from")
    to: Seq


class Nothing(Wire):
    """cmd/resume, cmd/ping: an empty object, or no payload."""


class ModelInstall(Wire):
    """cmd/model-install: a signed bundle in a folder of the device, or under an https:// address."""

    bundle: Text


class Result(Wire):
    """What a command did; each sets its own fields."""

    version: Text | None = None
    """ping: of the agent."""
    boot_id: Text | None = None
    """ping"""
    time_ms: int | None = None
    """ping: UTC, milliseconds."""
    sensing: Literal["on", "off"] | None = None
    """pause, resume: what holds now."""
    reason: Text | None = None
    """resume: why sensing is still off."""
    from_: Seq | None = Field(default=None, alias="from")
    """resend"""
    to: Seq | None = None
    """resend"""
    sent: int | None = None
    """resend: numbers that are on their way, as windows or as declared gaps."""
    missing: tuple[Range, ...] | None = Field(default=None, max_length=50)
    """resend: the first ranges (first, last) that are not kept any more; all of them come as gap events."""
    accepted: Text | None = None
    """model-install: the bundle; an event of kind "model" tells how it ended."""


class Reply(Wire):
    """rsp/<name>, or the response topic that the command named."""

    schema_: Literal["fer.reply/1.0"] = Field(alias="schema")
    agent: Id
    cmd: Text
    ok: bool
    error: Text | None = None
    result: Result | None = None


COMMANDS: dict[str, type[Wire]] = {
    "pause": Pause,
    "resume": Nothing,
    "resend": Resend,
    "ping": Nothing,
    "model-install": ModelInstall,
}
"""What each command takes."""
