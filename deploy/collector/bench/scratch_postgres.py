"""Databases for tests and benchmarks: a PostgreSQL of its own on a Unix socket, never one that is there already."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import UnavailableError

_SETTINGS = (
    "listen_addresses=''",
    "max_connections=50",
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "log_min_messages=fatal",
)


def find_programs() -> Path:
    """Return the folder of initdb and pg_ctl. Raises UnavailableError where there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not folders:
        raise UnavailableError("PostgreSQL: initdb not found; apt-get install postgresql")
    return folders[0]


@contextmanager
def scratch_postgres() -> Iterator[str]:
    """Run a server until the end of the block; yield its URL. It refuses root, so root lends it to `postgres`."""
    programs = find_programs()
    prefix: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory(prefix="fer-pg-", dir="/var/tmp") as name:
        if os.geteuid() == 0:
            account = _account()
            shutil.chown(name, account)
            prefix = ("runuser", "-u", account, "--")
        data = f"{name}/data"
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": name}
        subprocess.run([*prefix, programs / "initdb", "-D", data, "-U", "fer", "-A", "trust", "-N"], **quiet)
        options = " ".join(f"-c {setting}" for setting in _SETTINGS) + f" -k {name}"
        control = [*prefix, str(programs / "pg_ctl"), "-D", data]
        subprocess.run([*control, "-w", "-o", options, "-l", f"{name}/log", "start"], **quiet)
        try:
            yield f"postgresql://fer@/postgres?host={name}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


def _account() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise UnavailableError("PostgreSQL: no account postgres or nobody to run it as; it refuses root")


@contextmanager
def some_database(url: str | None, postgres: bool) -> Iterator[str]:
    """Yield the URL to measure with: the given one, or a fresh PostgreSQL, or a fresh SQLite file."""
    if url is not None:
        yield url
    elif postgres:
        with scratch_postgres() as fresh:
            yield fresh
    else:
        with tempfile.TemporaryDirectory(prefix="fer-bench-", dir="/var/tmp") as folder:
            yield f"sqlite:///{folder}/windows.db"
