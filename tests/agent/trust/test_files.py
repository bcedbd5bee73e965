"""What the agent makes in its state folder is for its owner alone, whoever makes it first."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.config import Updates
from agent.delivery.disk import DiskSpool
from agent.device.crashes import Starts
from agent.trust.audit import AuditLog
from agent.trust.store import ModelStore


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """That of a login shell: by the service manager's, nothing would be open anyway."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def spool(state: Path) -> None:
    DiskSpool(state / "spool", 64_000_000, 1e9).close()


def models(state: Path) -> None:
    with ModelStore(state, Updates(), AuditLog(state))._locked():
        pass


MAKERS = {
    "audit log": lambda state: AuditLog(state).append("mode", sensing="on"),
    "starts": lambda state: Starts(state).begin(),
    "spool": spool,
    "models": models,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_nobody_else_can_look_into_the_state_folder(
    tmp_path: Path, make: Callable[[Path], object], usual_umask: None
) -> None:
    """Folders are 0700 and files 0600 from the start: the doctor has nothing to complain of."""
    state = tmp_path / "new" / "state"
    make(state)
    open_to_others = [path for path in (state.parent, state, *state.rglob("*")) if path.stat().st_mode & 0o077]
    assert open_to_others == []
