"""Model updates under SIGKILL, before each of their file operations."""

import os
import shutil
import signal
import sys

from agent.trust.audit import verify
from agent.trust.inventory import listed
from tests.agent.trust.conftest import Device


def steps_until_done(work, killed_at: int) -> bool:
    """Run `work` in a child that kills itself (SIGKILL) before its n-th operation on files; True if it finished."""
    child = os.fork()
    if child == 0:
        left = [killed_at]

        def hook(event: str, args: tuple) -> None:
            if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree"):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_killed_at_every_step_of_an_update_it_is_old_or_new(device: Device) -> None:
    """SIGKILL before each file operation of an install: the next start takes the whole old or the whole new model, and
    the install can be repeated."""
    device.commit("first", 1)
    device.commit("old", 2)
    device.bundle("new", 3)
    shutil.copytree(device.state, device.root / "before")
    seen, step, done = [], 0, False
    while not done:
        step += 1
        shutil.rmtree(device.state)
        shutil.copytree(device.root / "before", device.state)
        done = steps_until_done(lambda: device.store().install(device.root / "new-new-3"), step)
        roles = {row.role: row.id for row in listed(device.store())}
        assert roles.get("previous") in (None, "first"), "a rollback would go to a model that never ran"
        seen.append(device.run())
        assert verify(device.state).problems == ()
        assert not (device.state / "models" / "incoming").exists()
        if seen[-1] == "old":
            device.store().install(device.root / "new-new-3")
            assert device.run() == "new"
    assert set(seen) == {"old", "new"}
    assert seen == sorted(seen, reverse=True), "old up to the switch, new from there on"
    assert step > 20, "the kills came between the file operations"


def test_killed_at_every_step_of_a_commit_it_is_kept(device: Device) -> None:
    """SIGKILL before each file operation of the committing window: the new model runs on, as a trial or committed."""
    device.commit("old")
    device.install("new", 2000)
    shutil.copytree(device.state, device.root / "before")
    step, done = 0, False
    while not done:
        step += 1
        shutil.rmtree(device.state)
        shutil.copytree(device.root / "before", device.state)
        done = steps_until_done(lambda: device.run(good=3), step)
        assert device.run() == "new"
    assert listed(device.store())[1].role == "committed"
    assert step > 10
