"""Runs a command as the service would: as its user and with its secrets."""

import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.device.unit import installed, is_the_service

_SECRETS: Final = ("mqtt-password", "mqtt-key")
"""What the unit loads as credentials from /etc/fer-agent."""


def as_the_service(*arguments: str) -> None:
    """As root on an installed device, run `fer-agent ARGUMENTS` as the service's user and end with its exit code: what
    root may do says nothing of the agent, and the secrets reach it in no other way. Else return."""
    if os.geteuid() != 0 or not installed() or is_the_service():
        return
    user = pwd.getpwnam("fer-agent")
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    command = [sys.executable, "-m", "agent", *arguments]
    with _credentials(user.pw_uid) as folder:
        environ = {**os.environ, "CREDENTIALS_DIRECTORY": str(folder), "HOME": user.pw_dir}
        done = subprocess.run(
            command, user=user.pw_uid, group=user.pw_gid, extra_groups=groups, cwd="/", env=environ, check=False
        )
    sys.exit(done.returncode)


@contextmanager
def _credentials(uid: int) -> Iterator[Path]:
    """Copy the secrets to where the user `uid` alone can read them, in memory, as the service manager does."""
    for ended in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ended, lambda number, _: sys.exit(128 + number))  # unhandled, they would leave the copies there
    with tempfile.TemporaryDirectory(prefix="fer-agent-", dir="/run") as name:
        folder = Path(name)
        for secret in map(Path("/etc/fer-agent").joinpath, _SECRETS):
            if secret.exists():
                handle = os.open(folder / secret.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
                with os.fdopen(handle, "wb") as copy:
                    copy.write(secret.read_bytes())
                os.chown(folder / secret.name, uid, -1)
        os.chown(folder, uid, -1)
        yield folder
