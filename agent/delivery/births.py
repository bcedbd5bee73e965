"""What the agent says of itself after every connect: status, meta, discovery. State without IO and without a clock."""

from agent.delivery import discovery, payload, wire
from agent.delivery.news import Parcel, SetState
from agent.delivery.payload import Provenance, Speaker
from agent.delivery.shared import SharedSpool


class Births:
    """Holds the state, what troubles the delivery, and what makes the numbers."""

    def __init__(self, speaker: Speaker, made_by: Provenance, spool: SharedSpool, *, home_assistant: bool) -> None:
        self.made_by = made_by
        self.session = speaker.started_ms
        """Number of the connection, rising within this run: the same in its will and its births."""
        self._speaker, self._spool, self._home_assistant = speaker, spool, home_assistant
        self._state = SetState("init", None)
        self._troubles: dict[str, str] = {}
        self._told: str | None = None

    def next_session(self) -> None:
        self.session += 1

    def set_state(self, state: SetState) -> bool:
        """Whether that is news."""
        changed, self._state = state != self._state, state
        return changed

    def set_trouble(self, key: str, text: str) -> bool:
        """Something of the delivery is wrong; whether that is news."""
        changed = self._troubles.get(key) != text
        self._troubles[key] = text
        return changed

    def settle(self, *begins: str) -> bool:
        """All troubles whose key begins so are over; whether there were any."""
        over = [key for key in self._troubles if key.startswith(begins)]
        for key in over:
            del self._troubles[key]
        return bool(over)

    def spool_news(self) -> bool:
        """Whether the spool's trouble has changed since the last call."""
        before, self._told = self._told, self._spool.trouble
        return self._told != before

    def now(self) -> SetState:
        """What the agent is: "ready" with troubles is "degraded"."""
        troubles = [*self._troubles.copy().values()] + ([self._spool.trouble] if self._spool.trouble else [])
        if troubles and self._state.state in ("init", "ready"):
            return SetState("degraded", "; ".join(troubles))
        return self._state

    def status(self, state: wire.State | None = None, reason: str | None = None) -> Parcel:
        """`state`, or what the agent is now."""
        if state is None:
            now = self.now()
            state, reason = now.state, now.reason
        epoch, newest = self._spool.epoch, self._spool.newest_seq
        body = payload.status(self._speaker, state, reason, session=self.session, epoch=epoch, newest_seq=newest)
        return Parcel(self._speaker.topics("status"), body.encode(), retain=True)

    def meta(self) -> Parcel:
        body = payload.meta(self._speaker, self.made_by)
        return Parcel(self._speaker.topics("meta"), body.encode(), retain=True)

    def discovery(self) -> list[Parcel]:
        """The announcement to Home Assistant, if it is wanted."""
        if not self._home_assistant:
            return []
        topics = self._speaker.topics
        index_only = self.made_by.privacy_profile == "strict"
        body = discovery.payload(topics, self.made_by.window_s, index_only=index_only)
        return [Parcel(discovery.topic(topics), body, retain=True)]

    def all(self) -> list[Parcel]:
        return [self.status(), self.meta(), *self.discovery()]

    def subscriptions(self) -> list[str]:
        topics = self._speaker.topics
        return [topics("ack"), topics("cmd/+"), topics("status")] + ([discovery.BIRTH] if self._home_assistant else [])

    def retained(self) -> set[str]:
        """Every topic that is published retained now."""
        topics = self._speaker.topics
        fixed = {topics("status"), topics("meta"), topics("last")}
        return fixed | ({discovery.topic(topics)} if self._home_assistant else set())
