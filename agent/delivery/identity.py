"""Two clients with one id: that there are two, and of agents who is who. State without IO and without a clock."""

from typing import Final, Literal

from agent.delivery import wire

_UNDECIDED: Final = 5
"""Looks at a twin that ended neither of the two: from the next one on the clocks decide."""


class Twin:
    """Collects the evidence. Both agents have the same client id, so they are never connected together: each is sent
    away by the other's connection, and finds the other's birth when it is back.

    One foreign birth proves nothing: an earlier run of ours that was killed, or a broker that was, may have left it.
    It is a twin if its session rises from one look to the next (mosquitto 2.0.11 closes without a word), or if the
    broker said "session taken over".

    Newer is who found the other's status at the broker when it first connected: no clock can be wrong about that, as
    one without a battery, or on a cloned card, is. Where each came while the other could not be seen (together, or to
    a broker that keeps nothing), `started_ms` decides.
    """

    def __init__(self, boot_id: str, started_ms: int) -> None:
        self._me = (started_ms, boot_id)
        self._connections = self._undecided = 0
        self._found: str | None = None
        """Who spoke when we first connected: somebody before us, or we ourselves; "" if nothing came in that time."""
        self._taken_over = False
        self._seen: tuple[str, int] | None = None

    def connected(self) -> None:
        """A connection begins."""
        self._connections += 1

    def taken_over(self) -> None:
        """Our connection ended because the same client id connected."""
        self._taken_over = True

    def verdict(self, status: wire.Status) -> Literal["older", "newer"] | None:
        """What we are beside the agent that said `status` on our topic; None if that was ourselves, an earlier
        run of us, or somebody who is gone."""
        if self._found is None:
            self._found = status.boot_id if self._connections == 1 else ""
        if status.boot_id == self._me[1] or status.state == "disconnected":
            return None
        before, self._seen = self._seen, (status.boot_id, status.session)
        again = before is not None and before[0] == status.boot_id
        rises = before is not None and again and before[1] < status.session
        # Over MQTT 3.1.1 the will of who is sent away is said at once, and it is all that is ever seen of a twin.
        if not (rises or (self._taken_over and status.state != "lost")):
            return None
        self._taken_over = False
        self._undecided = self._undecided + 1 if again else 1
        later = self._me > (status.started_ms, status.boot_id) and self._undecided > _UNDECIDED
        return "newer" if later or self._found == status.boot_id else "older"


class Contest:
    """Whether another client of our id takes the connection each time: the broker ends the older one, and mosquitto
    does not say why. begun / ended / explained.

    brief_s : a connection that ends sooner, seconds, was taken, or the broker is started anew
    taken : so many of them in a row were taken
    """

    def __init__(self, brief_s: float, taken: int) -> None:
        self._brief_s, self._taken = brief_s, taken
        self._begun, self._brief = 0.0, 0

    @property
    def on(self) -> bool:
        """Whether it goes on."""
        return self._brief >= self._taken

    def begun(self, at: float) -> None:
        """A connection is good."""
        self._begun = at

    def ended(self, at: float) -> bool:
        """It ended, and nothing else says why; whether that is now the first sign of a contest."""
        self._brief = self._brief + 1 if at - self._begun < self._brief_s else 0
        return self._brief == self._taken

    def explained(self) -> None:
        """It ended for another reason."""
        self._brief = 0
