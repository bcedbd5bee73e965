"""A name server that never answers: the stop comes in time, and nothing is lost by it (faults 1, 26)."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.delivery.disk import DiskSpool
from agent.delivery.head import read_marks

ROOT = Path(__file__).resolve().parents[2]
_STOP_S = 20
"""TimeoutStopSec of the service."""

_AGENT = """
import socket, sys, time
from pathlib import Path
from agent.delivery.publish import Publisher
from tests.mqtt_world import MADE_BY, settings, summary
deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
deaf.bind(("127.0.0.1", 53))
wanted = settings(1883, host="broker.example")
with Publisher(wanted, MADE_BY, state_dir=Path(sys.argv[1])) as publisher:
    publisher.state("ready")
    for number in range(3):
        publisher(summary(number))
    time.sleep(1)
    began = time.monotonic()
print(time.monotonic() - began)
"""


def test_a_resolver_that_hangs_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """It would take minutes; the agent stops within the time of its unit, and its spool is marked as stopped cleanly:
    the next start declares no window lost."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("a network and mount namespace needs root, util-linux and iproute2")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    mounts = " && ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("resolv.conf", "nsswitch.conf"))
    script = f"ip link set lo up && {mounts} && exec {sys.executable} -c '{_AGENT}' {tmp_path}/state"
    started = time.monotonic()
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"namespaces are not possible here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert "event=delivery.abandoned" in done.stderr, f"the resolver did not hang: {time.monotonic() - started:.0f} s"
    assert float(done.stdout) < _STOP_S
    assert read_marks(tmp_path / "state" / "spool" / "head").clean
    spool = DiskSpool(tmp_path / "state" / "spool", 8 << 20, 1e9)
    assert [(e.kind, e.seq) for p in spool.pending() if (e := spool.read(p))] == [("window", n) for n in (1, 2, 3)]
    spool.close()
