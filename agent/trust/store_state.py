"""Which model is used, tried and kept: the store's state machine. Everything that affects it stands here.

released ──install──▶ trial ──N good windows──▶ committed
                        └──a crash loop, a refused load, or the operator──▶ what was committed before, or released
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

VERSION: Final = 1
MAX_STARTS: Final = 3
"""Starts of a trial in a row without a good window or a clean stop between them; the next one goes back."""

Slot = Literal["a", "b"]
SLOTS: Final[tuple[Slot, Slot]] = ("a", "b")


class NewerVersionError(Exception):
    """The state was written by a newer agent."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A model that has yet to show itself."""

    slot: Slot
    digest: str
    """Of the bundle, so that windows of another one are not counted."""
    good: int = 0
    """Windows with a result so far."""
    starts: int = 0
    """Starts since the last good window or clean stop."""


@dataclass(frozen=True, slots=True)
class State:
    """All of models/state.json."""

    committed: Slot | None = None
    """Slot of the model in use; None is the package's."""
    previous: Slot | None = None
    """Slot of the model before, to go back to; None is the package's, or none."""
    trial: Trial | None = None
    newest: int = 0
    """Timestamp of the newest signature ever installed, seconds since 1970: older ones are refused."""

    def candidates(self) -> list[Slot]:
        """Slots in the order in which they are tried; after them comes the package's bundle."""
        before = self.previous if self.committed is not None else None  # the package's own is what was gone back to
        slots = (self.trial.slot if self.trial else None, self.committed, before)
        return [slot for slot in dict.fromkeys(slots) if slot is not None]

    def free_slot(self) -> Slot:
        """Where a new bundle goes: never where the committed one is."""
        return "b" if self.committed == "a" else "a"

    def vacated(self) -> "State":
        """Before the free slot is emptied: nothing points to it."""
        keep = self.previous if self.previous != self.free_slot() else None
        return replace(self, trial=None, previous=keep)

    def installed(self, digest: str, timestamp: int) -> "State":
        """The free slot was filled."""
        return replace(self, trial=Trial(self.free_slot(), digest), newest=max(self.newest, timestamp))

    def started(self) -> "State":
        """The agent is about to use the trial, if there is one."""
        return replace(self, trial=replace(self.trial, starts=self.trial.starts + 1)) if self.trial else self

    def exhausted(self) -> bool:
        """True if the trial must not be started once more."""
        return self.trial is not None and self.trial.starts >= MAX_STARTS

    def good_window(self, needed: int) -> "State":
        """The trial gave a result; it is committed with the one that makes `needed`."""
        if self.trial is None:
            return self
        if self.trial.good + 1 < needed:
            return replace(self, trial=replace(self.trial, good=self.trial.good + 1, starts=0))
        return replace(self, committed=self.trial.slot, previous=self.committed, trial=None)

    def stopped(self) -> "State":
        """The agent ended as it should."""
        return replace(self, trial=replace(self.trial, starts=0)) if self.trial else self

    def rolled_back(self) -> "State":
        """Drop the trial; without one go back to the previous model, and without that to the package's. What was gone
        back from is not offered again: only an install brings it back."""
        if self.trial is not None:
            return replace(self, trial=None)
        return replace(self, committed=self.previous, previous=None)

    def text(self) -> bytes:
        """The file."""
        return json.dumps({"version": VERSION, **asdict(self)}).encode() + b"\n"


def parse(content: bytes) -> State:
    """Read models/state.json. Raises ValueError if it is damaged, NewerVersionError if it is not ours to read."""
    try:
        fields: dict[str, Any] = json.loads(content)
        if fields["version"] > VERSION:
            raise NewerVersionError(f"expected version {VERSION}, got {fields['version']}")
        trial = fields["trial"] and Trial(**fields["trial"])
        state = State(fields["committed"], fields["previous"], trial, int(fields["newest"]))
    except (KeyError, TypeError, OverflowError, RecursionError) as cause:
        raise ValueError(f"not a state: {cause}") from cause
    if trial and not (isinstance(trial.digest, str) and type(trial.good) is type(trial.starts) is int):
        raise ValueError(f"not a state: trial {trial}")
    if trial and (trial.slot not in SLOTS or trial.slot == state.committed):
        raise ValueError(f"not a state: trial {trial}, committed {state.committed}")
    if any(slot not in (*SLOTS, None) for slot in (state.committed, state.previous)):
        raise ValueError(f"not a state: slots {state.committed}, {state.previous}")
    return state
