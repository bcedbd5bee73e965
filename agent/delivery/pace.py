"""How fast and how patiently: every delay of the delivery, in one place, without a clock."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Delays and rates."""

    rate: float = 20.0
    """Late windows sent per second."""
    spread_s: float = 25.0
    """When a broker ends a connection it ended everybody's: come back at random within this time, seconds."""
    wait_min_s: float = 1.0
    """First pause between two tries to connect, seconds."""
    wait_max_s: float = 60.0
    """Longest pause between two tries, seconds."""
    grace_s: float = 0.5
    """Between the births and the backlog: the retained ack comes in this time, seconds."""
    fresh_s: float = 10.0
    """A window that closed this short a time before the connection is still live, seconds."""
    unacked_s: float = 6 * 3600.0
    """After so long without an ack for windows that the broker took, a collector that used to send them is missed."""
    drain_s: float = 5.0
    """Longest wait for the last windows to be taken when the agent stops, seconds."""
    leave_s: float = 12.0
    """Longest wait for the delivery's thread when the agent stops, seconds: a connect under way, the last windows, the
    goodbye. A resolver that does not answer takes longer, and the service manager kills after 20 s (TimeoutStopSec)."""

    def wait(self, failures: int, *, herd: bool) -> float:
        """Seconds until try number `failures` + 1, with jitter. `herd`: everybody was sent away at once."""
        if herd:
            return self.wait_min_s + random.uniform(0, self.spread_s)  # noqa: S311  jitter, not a secret
        longest = min(self.wait_max_s, self.wait_min_s * 2 ** min(failures, 16))
        return random.uniform(longest / 2, longest)  # noqa: S311
