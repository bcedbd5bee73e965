"""A device whose models are updated: a state folder, a signer, and a program that is restarted."""

from pathlib import Path

import numpy as np
import pytest

from agent.config import Updates
from agent.trust.audit import AuditLog
from agent.trust.store import ModelStore
from agent.vision.model_card import Bundle
from tests.agent.trust.signed_bundles import Signer, write_bundle


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


class Device:
    """A state folder and a program that is restarted."""

    def __init__(self, root: Path, signer: Signer, state: Path | None = None) -> None:
        self.root, self.signer, self.state = root, signer, state or root / "state"
        self.state.mkdir()
        self.released = write_bundle(root / "released", "released", None)
        self.broken: set[str] = set()
        """Ids that this machine's runtime does not compute right."""

    def store(self, keys: tuple[str, ...] | None = None, origins: tuple[str, ...] = ()) -> ModelStore:
        keys = (self.signer.public,) if keys is None else keys
        updates = Updates(keys=keys, origins=origins, good_windows=3)
        return ModelStore(self.state, updates, AuditLog(self.state), accept=self.accept, released=str(self.released))

    def accept(self, bundle: Bundle) -> None:
        """The bundle's own check of what this machine's runtime computes: all right, or far off."""
        off = np.int8(100 if bundle.card.id in self.broken else 0)
        bundle.check_golden(lambda _: bundle.golden.default + off)

    def bundle(self, name: str, timestamp: int = 1000, signer: Signer | None = None) -> Path:
        return write_bundle(self.root / f"new-{name}-{timestamp}", name, signer or self.signer, timestamp)

    def install(self, name: str, timestamp: int = 1000, force: bool = False) -> str:
        return self.store().install(self.bundle(name, timestamp), force=force)

    def run(self, good: int = 0, bad: int = 0, crash: bool = False) -> str:
        """One life of the agent: which model it took."""
        store = self.store()
        name = store.choose().card.id
        for is_good in [True] * good + [False] * bad:
            store.record(is_good)
        if not crash:
            store.stopped()
        return name

    def commit(self, name: str, timestamp: int = 1000) -> None:
        self.install(name, timestamp)
        assert self.run(good=3) == name

    def events(self) -> list[str]:
        lines = (self.state / "audit.log").read_text().splitlines()
        return [line.split('"event":"')[1].split('"')[0] for line in lines]


@pytest.fixture
def device(tmp_path: Path, signer: Signer) -> Device:
    return Device(tmp_path, signer)
