"""Models on the device: two folders, an atomic switch, a trial with a way back. Law: killed anywhere, old or new.

<state_dir>/models/a, b       bundles; one is in use while the other is replaced
                  /state.json which is which (`store_state`), replaced in one rename: the switch
                  /offered/   bundles that somebody put on the device for the command model-install
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent import config
from agent.errors import CannotWriteError, ConfigError, ModelError
from agent.trust import store_state
from agent.trust.audit import AuditLog
from agent.trust.fetch import from_https
from agent.trust.files import locked, make_private, sync, write_atomically
from agent.trust.signed_bundle import Read, SignedBundle, from_folder, read_signed
from agent.trust.store_state import SLOTS, Slot, State, Trial
from agent.vision.model_card import Bundle, find

log = logging.getLogger(__name__)

_OPERATOR: Final = "operator"


class ModelStore:
    """The models in a state folder; safe with several processes. The constructor opens nothing.

    accept: raises ModelError for a bundle that does not work in this runtime (its golden check)
    released: name or folder of the bundle to fall back on, the package's own
    """

    def __init__(
        self,
        state_dir: Path,
        updates: config.Updates,
        audit: AuditLog,
        *,
        accept: Callable[[Bundle], None] | None = None,
        released: str = "released",
    ) -> None:
        self.folder: Final = state_dir / "models"
        self.released: Final = released
        self._updates, self._audit, self._accept = updates, audit, accept or (lambda _: None)
        self._running: str | None = None
        """Digest of the trial that `choose` returned."""

    def choose(self) -> Bundle:
        """Return the model to run: the trial, else the committed one, else the one before, else the package's.

        Raises ModelError if even the package's bundle is refused, ConfigError for a state folder that is closed to this
        user. What is wrong with other bundles is logged and audited.
        """
        self._running = None
        try:
            there = self.folder.is_dir()
        except OSError as cause:
            what = f"expected a folder that the service can use, got {self.folder.parent}: {cause.strerror}"
            raise ConfigError(f"agent.state_dir: {what}") from cause
        bundle = self._choose() if there else None
        return self._package() if bundle is None else bundle

    def preview(self) -> Bundle:
        """Return what `choose` would return, for whoever only looks: no start is counted, nothing is written."""
        state = State()
        with suppress(ModelError):  # a newer agent's state is let be
            state = self.peek()
        for slot in (state.rolled_back() if state.exhausted() else state).candidates():
            with suppress(ModelError):
                bundle, digest = self.load(slot)
                self._accept(bundle)
                if state.trial is None or slot != state.trial.slot or digest == state.trial.digest:
                    return bundle
        return self._package()

    def _package(self) -> Bundle:
        bundle = Bundle.load(find(self.released))
        self._accept(bundle)
        return bundle

    def _choose(self) -> Bundle | None:
        try:
            with self._locked():
                self._sweep()
                state = self._read()
                if state.exhausted():
                    state = self._roll_back(state, f"{store_state.MAX_STARTS} starts without a good window")
                if state.trial is not None:
                    state = self._write(state.started())
                if state.trial is not None and (bundle := self._tried(state.trial)):
                    return bundle
                if state.trial is not None:
                    state = self._roll_back(state, "refused when it was loaded")
        except (OSError, CannotWriteError) as error:
            # Starts of a trial cannot be counted on this disk, so none is tried; what was committed goes on.
            log.error("event=model.store path=%s reason=%r", self.folder, str(error))
            state = replace(self.peek(), trial=None)
        except store_state.NewerVersionError as error:
            log.error("event=model.store path=%s reason=%r", self.folder, str(error))
            return None
        loaded = (self._usable(slot) for slot in state.candidates())
        return next((found[0] for found in loaded if found), None)

    def _tried(self, trial: Trial) -> Bundle | None:
        """The trial's bundle, whose windows count from here on; None if it is refused."""
        found = self._usable(trial.slot)
        if found is None or found[1] != trial.digest:
            return None
        self._running = trial.digest
        return found[0]

    def _usable(self, slot: Slot) -> tuple[Bundle, str] | None:
        """The bundle in a slot and its digest; None, logged and audited, if it must not be used."""
        try:
            bundle, digest = self.load(slot)
            self._accept(bundle)
        except ModelError as refused:
            self._audit.note("model.refused", slot=slot, reason=str(refused))
            log.error("event=model.refused slot=%s reason=%r", slot, str(refused))
            return None
        return bundle, digest

    def record(self, good: bool) -> None:
        """A window ended: `good` if it carried a result. Commits a trial after enough of them."""
        if self._running is None or not good:
            return
        self._update(lambda state: state.good_window(self._updates.good_windows))

    def stopped(self) -> None:
        """The agent ends as it should: this start does not count as a crash."""
        if self._running is not None:
            self._update(lambda state: state.stopped())

    def install(self, source: Path, *, force: bool = False, read: Read | None = None) -> str:
        """Install the signed bundle in folder `source` as a trial for the next start; return its id.

        force: allow one that was signed before the newest ever installed; read: its files, where they are open already

        Raises ModelError (refused, audited) or CannotWriteError.
        """
        return self._install(read or from_folder(source), str(source), force)

    def install_named(self, ref: str) -> str:
        """The network's install: an id of a bundle that is already on the device, or the HTTPS folder of one at an
        allowed origin. Never an older one. Raises ModelError, CannotWriteError or TryAgainError."""
        if "://" in ref:
            try:
                read = from_https(ref, self._updates.origins)
            except ModelError as refused:
                self._audit.note("model.refused", source=ref, reason=str(refused))
                raise
            return self._install(read, ref, force=False)
        for folder in sorted((self.folder / "offered").glob("*/")):
            if ref in (folder.name, _id(folder)):
                return self._install(from_folder(folder), f"offered/{folder.name}", force=False)
        self._audit.note("model.refused", source=ref, reason="not on the device")
        raise ModelError(f"{ref[:100]!r}: no such bundle in {self.folder / 'offered'}, and no https:// address")

    def rollback(self) -> str:
        """Go back by one model, from the next start on; return the id of the one that is used then.

        Raises ModelError if the package's own is in use already, or the one before is damaged.
        """
        with self._locked():
            state = self._read()
            if not state.candidates():
                raise ModelError(
                    f"{self.folder}: nothing to roll back, the package's own model is in use; another one comes by "
                    "fer-agent models install"
                )
            after = state.rolled_back()
            name = self.load(after.committed)[0].card.id if after.committed else self.released
            self._roll_back(state, _OPERATOR)
            return name

    def peek(self) -> State:
        """The state for people: nothing is repaired."""
        try:
            return store_state.parse((self.folder / "state.json").read_bytes())
        except (OSError, ValueError):
            return State()
        except store_state.NewerVersionError as cause:
            raise ModelError(f"{self.folder / 'state.json'}: written by a newer agent ({cause})") from cause

    def verify(self, source: Path, read: Read | None = None) -> Bundle:
        """Check the bundle in `source` as `install` would, without installing it. Raises ModelError."""
        return read_signed(read or from_folder(source), self._updates.keys, str(source)).load(source)

    def _install(self, read: Read, where: str, force: bool) -> str:
        """Fetch and check outside the lock, then switch inside it."""
        try:
            bundle = read_signed(read, self._updates.keys, where)
            with self._locked():
                return self._switch(bundle, where, force)
        except ModelError as refused:
            self._audit.note("model.refused", source=where, reason=str(refused))
            raise
        except (OSError, store_state.NewerVersionError) as cause:
            raise CannotWriteError(f"{self.folder}: the model cannot be installed ({cause})") from cause

    def _switch(self, bundle: SignedBundle, where: str, force: bool) -> str:
        """The order is important: nothing points to the slot while it is replaced, and the switch comes last."""
        state, stamp = self._read(), bundle.signed.timestamp
        if stamp < state.newest and not force:
            raise ModelError(f"{where}: older than what was installed (signed {stamp}, newest {state.newest}); --force")
        self._sweep()
        draft, slot = self.folder / "incoming", self.folder / state.free_slot()
        try:
            bundle.write(draft)
            loaded = Bundle.load(draft)
            self._accept(loaded)
            state = self._write(state.vacated())
            shutil.rmtree(slot, ignore_errors=True)
            draft.replace(slot)
        except BaseException:
            self._sweep()  # on a full disk the spool needs this room
            raise
        sync(self.folder)
        self._write(state.installed(bundle.digest, stamp))
        self._audit.note(
            "model.installed", id=loaded.card.id, digest=bundle.digest, key=bundle.signed.key_id, forced=force
        )
        return loaded.card.id

    def load(self, slot: Slot) -> tuple[Bundle, str]:
        """The bundle in a slot and its digest, the signature checked again: the card may have been in other hands."""
        digest = self._signed(slot).digest
        return Bundle.load(self.folder / slot), digest

    def _signed(self, slot: Slot) -> SignedBundle:
        folder = self.folder / slot
        return read_signed(from_folder(folder), self._updates.keys, str(folder))

    def _update(self, change: Callable[[State], State]) -> None:
        """Change the state of the trial that runs here; a disk that cannot be written is a warning."""
        try:
            with self._locked():
                state = self._read()
                if state.trial is None or state.trial.digest != self._running:
                    self._running = None
                    return
                after = self._write(change(state))
                if after.trial is None:
                    self._audit.note("model.committed", slot=after.committed, digest=self._running)
                    self._running = None
        except (OSError, CannotWriteError, store_state.NewerVersionError) as error:
            log.warning("event=model.store path=%s reason=%r", self.folder, str(error))

    def _roll_back(self, state: State, reason: str) -> State:
        after = self._write(state.rolled_back())
        self._audit.note("model.rolled-back", reason=reason, now=after.committed or "released")
        level = logging.INFO if reason == _OPERATOR else logging.ERROR
        log.log(level, "event=model.rolled-back reason=%r now=%s", reason, after.committed or "released")
        return after

    def _read(self) -> State:
        """The state; a damaged one is kept aside, and both slots stay unused until a bundle is installed."""
        path = self.folder / "state.json"
        try:
            return store_state.parse(path.read_bytes())
        except FileNotFoundError:
            return State(newest=self._newest_on_disk())
        except ValueError as error:
            log.error("event=model.store path=%s reason=%r", path, str(error))
            path.replace(path.with_name("state.json.bad"))
            return self._write(State(newest=self._newest_on_disk()))

    def _newest_on_disk(self) -> int:
        """Timestamp of the newest signed bundle in the slots, so that a lost state allows no downgrade to before it."""
        stamps = [0]
        for slot in SLOTS:
            with suppress(ModelError):
                stamps.append(self._signed(slot).signed.timestamp)
        return max(stamps)

    def _write(self, state: State) -> State:
        write_atomically(self.folder / "state.json", state.text())
        return state

    def _sweep(self) -> None:
        """Remove what a killed install left."""
        shutil.rmtree(self.folder / "incoming", ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                make_private(self.folder)
                stack.enter_context(locked(self.folder / "lock"))
            except OSError as cause:
                raise CannotWriteError(f"{self.folder}: cannot be written ({cause.strerror})") from cause
            yield


def _id(folder: Path) -> str | None:
    """The id in a bundle's card; None if it is none (the install will say why)."""
    try:
        return Bundle.load(folder).card.id
    except ModelError:
        return None
