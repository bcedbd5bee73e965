"""Two agents with one id: who is who, from what the broker says. State without IO and without a clock."""

from typing import Literal

from agent.delivery import wire

_ALIVE = ("init", "ready", "degraded", "paused")


class Twin:
    """Collects the evidence. Both agents have the same client id, so they are never connected together: each is sent
    away by the other's connection, and finds the other's birth when it is back.

    One foreign birth proves nothing: an earlier run of ours that was killed, or a broker that was, may have left it.
    It is a twin if its session rises from one look to the next (mosquitto 2.0.11 closes without a word), or if the
    broker said "session taken over".
    """

    def __init__(self, boot_id: str, started_ms: int) -> None:
        self._me = (started_ms, boot_id)
        self._taken_over = False
        self._seen: tuple[str, int] | None = None

    def taken_over(self) -> None:
        """Our connection ended because the same client id connected."""
        self._taken_over = True

    def verdict(self, status: wire.Status) -> Literal["older", "newer"] | None:
        """What we are beside the agent that said `status` on our topic; None if that was ourselves, an earlier
        run of us, or somebody who is gone."""
        if status.boot_id == self._me[1] or status.state not in _ALIVE:
            return None
        before, self._seen = self._seen, (status.boot_id, status.session)
        rises = before is not None and before[0] == status.boot_id and before[1] < status.session
        if not (rises or self._taken_over):
            return None
        self._taken_over = False
        return "newer" if self._me > (status.started_ms, status.boot_id) else "older"
