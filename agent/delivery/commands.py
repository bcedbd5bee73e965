"""Commands: bytes from anybody on the network → a reply. Nothing that comes in here may end the network thread."""

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from pydantic import ValidationError

from agent import __version__
from agent.delivery import wire_commands
from agent.delivery.link import Received
from agent.delivery.payload import MAX_BYTES, Speaker
from agent.delivery.topics import PREFIX
from agent.delivery.wallclock import now_ms
from agent.delivery.wire import Wire
from agent.errors import FerAgentError

log = logging.getLogger("agent.delivery")

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Takes a checked command's fields, returns the reply's `result`; raises FerAgentError to refuse. Must be quick:
it runs in the delivery's thread."""

Resend = Callable[[int, int], Collection[int]]
"""Lines up what tells of first…last: windows that are kept, gaps that were declared; returns their numbers."""

_MOST: Final = 100_000
"""Most windows that one `resend` may ask for."""
_LISTED: Final = 50
"""Most missing ranges in a reply; all of them come as gap events."""
_REMEMBERED: Final = 256
"""Last commands by which a repeat is known."""
_ONCE: Final = frozenset({"resend", "resume", "model-install"})
"""A repeat of these is not done again. A `pause` always is, repeated or with a payload that makes no sense: nothing may
keep sensing from being turned off."""
_PROBE: Final = "doctor"
"""What `fer-agent doctor` sends to itself, beside the running agent: nothing is to be done, or said, about it."""
_COMPARED: Final = 256
"""Bytes of the correlation data that count."""
_REPEATED: Final = "expected new correlation data, got those of an earlier command: not done again; send new ones"
_LONGEST: Final = MAX_BYTES
"""Bytes of a command; none needs more than a hundred."""


class Desk:
    """Checks, dispatches and answers commands."""

    def __init__(
        self, speaker: Speaker, handlers: Mapping[str, Handler], resend: Resend, newest: Callable[[], int]
    ) -> None:
        """Args: handlers: of `pause`, `resume`, `model-install`; resend: lines up what is kept; newest: the last
        number that was used."""
        unknown = set(handlers) - set(wire_commands.COMMANDS)
        assert not unknown, f"no such commands in the contract: {unknown}"
        self._speaker, self._resend, self._newest = speaker, resend, newest
        self._handlers = {"ping": self._ping, "resend": self._do_resend, **handlers}
        self.denied: str | None = None
        """Why no window can go out now. A `resend` that said ok all the same would have a collector call them lost."""
        self._gaps: list[tuple[int, int]] = []
        self._seen: deque[tuple[str, str | None, bytes]] = deque(maxlen=_REMEMBERED)

    def answer(self, news: Received) -> tuple[str, wire_commands.Reply, list[tuple[int, int]]] | None:
        """The reply, its topic, and gaps to declare; None for what is ignored: retained, a probe, no command."""
        name = self._speaker.topics.command(news.topic)
        if name is None or name == _PROBE:
            return None
        if news.retained:
            log.warning("event=cmd.ignored cmd=%.40r reason=retained", name)
            return None
        self._gaps = []
        reply = self._no(name, _REPEATED) if self._repeated(name, news) else self._do(name, news.payload)
        return self._reply_topic(name, news.response_topic), reply, self._gaps

    def _repeated(self, name: str, news: Received) -> bool:
        """Whether this very command was already heard: the same name, response topic and correlation data."""
        if name not in _ONCE or news.correlation is None:
            return False
        key = (name, news.response_topic, news.correlation[:_COMPARED])
        seen = key in self._seen
        self._seen.append(key)
        return seen

    def _ping(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"version": __version__, "boot_id": self._speaker.boot_id, "time_ms": now_ms()}

    def _do_resend(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        first, last = body["from"], body["to"]
        if not first <= last < first + _MOST:
            raise FerAgentError(f"expected from <= to and at most {_MOST} windows, got {first}…{last}")
        # Numbers that no window had yet are not missing: a collector would pass over the windows to come.
        if first > (newest := self._newest()):
            raise FerAgentError(f"expected from <= {newest}, the newest number of this epoch, got {first}")
        if self.denied is not None:
            raise FerAgentError(self.denied)
        last = min(last, newest)
        kept = self._resend(first, last)
        self._gaps = missing(first, last, kept)
        return {"from": first, "to": last, "sent": len(kept), "missing": self._gaps[:_LISTED]}

    def _do(self, name: str, payload: bytes) -> wire_commands.Reply:
        model = wire_commands.COMMANDS.get(name)
        handler = self._handlers.get(name)
        if model is None or handler is None:
            known = ", ".join(sorted(set(wire_commands.COMMANDS) & set(self._handlers)))
            return self._no(name, f"unknown command, expected one of: {known}")
        body = _read(model, payload)
        if isinstance(body, str):
            if name != "pause":
                return self._no(name, body)
            # Its payload is only for people, and a later minor version's may hold more: it is done all the same.
            log.warning("event=cmd.payload-ignored cmd=pause reason=%.120r", body)
            body = wire_commands.Pause()
        try:
            result = wire_commands.Result.model_validate(handler(body.model_dump(by_alias=True, exclude_none=True)))
        except FerAgentError as error:
            return self._no(name, str(error))
        except Exception as error:  # a handler's bug must not end the delivery
            log.exception("event=cmd.failed cmd=%s", name)
            return self._no(name, f"internal error: {type(error).__name__}")
        return wire_commands.Reply(
            schema="fer.reply/1.0", agent=self._speaker.topics.agent, cmd=name, ok=True, result=result
        )

    def _no(self, name: str, why: str) -> wire_commands.Reply:
        log.warning("event=cmd.refused cmd=%.40r reason=%.120r", name, why)
        agent = self._speaker.topics.agent
        return wire_commands.Reply(schema="fer.reply/1.0", agent=agent, cmd=name[:64], ok=False, error=why[:200])

    def _reply_topic(self, name: str, asked: str | None) -> str:
        """Where the command wants its answer, if that is a place for answers; our own otherwise. A reply must not
        become a command or a status of somebody else."""
        own = self._speaker.topics(f"rsp/{name if name in wire_commands.COMMANDS else 'unknown'}")
        if asked is None or len(asked) > 400 or any(c in asked for c in "+#\0"):
            return own
        levels = asked.split("/")
        return asked if asked.startswith(PREFIX + "/") and "rsp" in levels[2:] and "cmd" not in levels else own


def _read(model: type[Wire], payload: bytes) -> Wire | str:
    """The command's fields, or what is wrong with its payload."""
    if len(payload) > _LONGEST:
        return f"expected at most {_LONGEST} bytes, got {len(payload)}"
    try:
        return model.model_validate_json(payload or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "payload"
        return f"{where}: {first['msg']}"


def missing(first: int, last: int, kept: Collection[int]) -> list[tuple[int, int]]:
    """The ranges within `first`…`last` that are not in `kept`."""
    ranges: list[tuple[int, int]] = []
    for seq in range(first, last + 1):
        if seq in kept:
            continue
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1] = (ranges[-1][0], seq)
        else:
            ranges.append((seq, seq))
    return ranges
