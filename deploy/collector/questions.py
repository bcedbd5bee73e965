"""What came of each `resend` that this collector asked for: whether its answer may count against a hole.

Law: an agent's `ok` says only that it has sent. Where its window topic brings nothing (the broker denies somebody
something) or still brings late windows (what was asked for waits behind them), an answer proves no loss.
No IO and no clock: times come in, in monotonic seconds. One thread.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from deploy.collector.messages import Source
from deploy.collector.streams import Hole

DRAINED_S: Final = 5.0
"""An agent sends its backlog some twenty a second: without a late window for so long, it is through."""


@dataclass(slots=True)
class _Question:
    correlation: bytes | None
    """None over MQTT 3.1.1."""
    part: Hole
    """What was asked for."""
    answered: bool = False
    heard: bool = False
    """Something came on the agent's window topic since."""


class Outcome(NamedTuple):
    """What a question has shown by the time of the next one."""

    counts: Hole | None = None
    """What was asked for, if it was answered so that it counts."""
    unheard: bool = False
    """It was answered, and nothing at all came on the window topic."""


class Questions:
    """At most one open question an agent, since `resend` speaks of one epoch. ask / hear / answer / close."""

    def __init__(self) -> None:
        self._open: dict[Source, _Question] = {}
        self._heard: dict[Source, float] = {}
        """When something came last on an agent's window topic, whether it could be stored or was refused."""
        self._late: dict[Source, float] = {}
        """When a late window came last."""

    def ask(self, source: Source, correlation: bytes | None, part: Hole) -> None:
        """Note a question of our own; every member of a group hears the answers to all."""
        self._open[source] = _Question(correlation, part)

    def hear(self, source: Source, at: float) -> None:
        """Note that the agent's window topic works as far as here."""
        self._heard[source] = at
        if question := self._open.get(source):
            question.heard = True

    def hear_late(self, source: Source, at: float) -> None:
        """Note a window of the agent's backlog."""
        self._late[source] = at

    def answer(self, source: Source, correlation: bytes | None, told: tuple[int, int] | None) -> None:
        """Note an `ok`, if it is to the open question. `told`: first and last number that it is about; over MQTT 3.1.1
        it is known by these alone, since whoever asked for them the agent has sent them."""
        question = self._open.get(source)
        if question is None or question.correlation != correlation:
            return
        part = question.part
        if correlation is not None or (told is not None and told[0] <= part.first and part.last <= told[1]):
            question.answered = True

    def close(self, source: Source, at: float) -> Outcome:
        """End the open question, before the next one."""
        question = self._open.pop(source, None)
        if question is None or not question.answered:
            return Outcome()
        if not question.heard:
            return Outcome(unheard=True)
        return Outcome() if self.draining(source, at) else Outcome(question.part)

    def forget(self) -> None:
        """Open questions prove nothing any more: what came meanwhile went elsewhere, or waits at the broker."""
        self._open.clear()

    def heard_since(self, source: Source, since: float) -> bool:
        """Whether the agent's window topic has brought anything since then."""
        return self._heard.get(source, -math.inf) >= since

    def draining(self, source: Source, at: float) -> bool:
        """Whether late windows of the agent still come."""
        late = self._late.get(source)
        return late is not None and at - late < DRAINED_S
