"""How many windows a second one collector process takes from a broker into the database."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import Engine, func, select
from sqlalchemy.engine import make_url

from agent.errors import UnavailableError
from deploy.collector.bench.lessons import running_broker
from deploy.collector.bench.report import at_least, machine
from deploy.collector.database import open_database
from deploy.collector.tables import streams, windows

_BAR = {"sqlite": 2000, "postgresql": 1500}
"""Windows per second that were promised."""
_START_S = 60.0
"""A start takes a second or two; a busy machine may need much longer."""


def measure(db: str, seconds: float, rooms: int, rate: float) -> None:
    """Run a broker, a collector process and a sender; print the rate and what was lost or doubled."""
    machine()
    with running_broker() as port:
        with running_collector(port, db, "--no-page") as collector:
            engine = open_database(db)
            before = _count(engine)
            start, idle = time.monotonic(), _cpu_seconds(collector.pid)
            sent = int(subprocess.check_output(_sender(port, rooms, seconds, rate)))
            stored = _settle(engine, before, sent)
            took = time.monotonic() - start
            busy = _cpu_seconds(collector.pid) - idle
        with engine.connect() as connection:
            upto = connection.execute(select(func.sum(streams.c.upto_seq))).scalar_one()
    kind = make_url(db).get_backend_name()
    click.echo(f"sent {sent:,} windows of {rooms} rooms in {seconds:.0f} s, stored {stored:,} after {took:.1f} s")
    click.echo(f"lost or doubled: {abs(sent - stored)}; acknowledged: {upto:,} sequence numbers")
    each, load = 1e6 * busy / max(1, stored), os.getloadavg()[0]
    click.echo(f"collector: {busy:.1f} s of CPU, {each:.0f} us a window; load now {load:.1f}")
    at_least(f"into {kind}", stored / took, _BAR[kind], "windows/s")


def _sender(port: int, rooms: int, seconds: float, rate: float) -> list[str]:
    return [sys.executable, "-m", "deploy.collector.bench.sender", *map(str, (port, rooms, seconds, rate))]


@contextmanager
def running_collector(port: int, db: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `fer-collector run` as a process of its own; yield once it hears windows. Raises UnavailableError, with its
    log, if it ends before or takes too long."""
    command = [sys.executable, "-m", "deploy.collector", "run", "--port", str(port), "--db", db, *options]
    with tempfile.NamedTemporaryFile() as log:
        process, end = subprocess.Popen(command, stderr=log), time.monotonic() + _START_S
        said = Path(log.name).read_bytes
        try:
            while b"event=broker.subscribed" not in said():
                if (ended := process.poll()) is not None or time.monotonic() > end:
                    state = f"exit code {ended}" if ended is not None else f"nothing for {_START_S:.0f} s"
                    raise UnavailableError(f"collector: expected it to hear windows, got {state}: {said().decode()}")
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            process.wait(20)


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(windows)).scalar_one()


def _settle(engine: Engine, before: int, sent: int) -> int:
    """Wait until all is stored, or nothing has come for 3 s; return how many were stored."""
    last, quiet = -1, 0
    while quiet < 15:
        stored = _count(engine) - before
        if stored >= sent:
            return stored
        quiet = quiet + 1 if stored == last else 0
        last = stored
        time.sleep(0.2)
    return last


def _cpu_seconds(pid: int) -> float:
    """Return user and system time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
