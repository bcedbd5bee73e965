"""Which models are on the device, for people: nothing is repaired or changed by looking."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

from agent.errors import FerAgentError
from agent.trust.store import ModelStore
from agent.trust.store_state import SLOTS, Slot
from agent.vision.model_card import Bundle, find

Role = Literal["trial", "committed", "previous", "unused", "package"]
_PACKAGE: Final = "package"


@dataclass(frozen=True, slots=True)
class Listed:
    """One model on the device."""

    name: str
    """The slot, "a" or "b", or the name or folder that classify.model gives the package's own."""
    role: Role
    id: str | None
    """The card's; None if the model must not be used."""
    problem: str | None
    """Why it must not be used, or None."""
    active: bool = False
    """The next start takes it."""


def listed(store: ModelStore, accept: Callable[[Bundle], None] | None = None) -> list[Listed]:
    """Every model of `store`, the package's own last. Raises ModelError for a state of a newer agent.

    accept: a further check, e.g. `works_here`; raises ModelError
    """
    state = store.peek()
    roles: dict[str | None, Role] = {state.previous: "previous", state.committed: "committed"}
    if state.trial is not None:
        roles[state.trial.slot] = "trial"
    there = [slot for slot in SLOTS if (store.folder / slot).is_dir()]
    loads: dict[str, Callable[[], Bundle]] = {slot: partial(_slot, store, slot) for slot in there}
    loads[_PACKAGE] = lambda: Bundle.load(find(store.released))
    roles[_PACKAGE] = _PACKAGE
    rows = [_describe(name, roles.get(name, "unused"), load, accept) for name, load in loads.items()]
    usable = {row.name for row in rows if row.problem is None}
    candidates = state.rolled_back().candidates() if state.exhausted() else state.candidates()
    active = next((slot for slot in candidates if slot in usable), _PACKAGE)
    shown = {_PACKAGE: store.released}
    return [replace(row, name=shown.get(row.name, row.name), active=row.name == active) for row in rows]


def _slot(store: ModelStore, slot: Slot) -> Bundle:
    return store.load(slot)[0]


def _describe(name: str, role: Role, load: Callable[[], Bundle], accept: Callable[[Bundle], None] | None) -> Listed:
    try:
        bundle = load()
        if accept is not None:
            accept(bundle)
    except FerAgentError as error:
        return Listed(name, role, None, str(error))
    return Listed(name, role, bundle.card.id, None)
