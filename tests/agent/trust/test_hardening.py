"""Memory stays memory: no core dump, no reading of it by others; secrets and frames live there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[3])

CHILD = """
import os, resource, sys
from agent.trust.hardening import keep_memory_private
if sys.argv[1] == "hard":
    keep_memory_private()
else:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
secret = "planted-" + str(7 ** 40)
print(resource.getrlimit(resource.RLIMIT_CORE), flush=True)
sys.stdout.flush()
print([line for line in open("/proc/self/status") if line.startswith("CoreDumping")][0].strip(), flush=True)
import ctypes
print([line for line in open("/proc/self/status") if line.startswith("VmLck")][0].split()[1], "kB locked", flush=True)
print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
os.abort()
"""


def abort(kind: str, folder: Path) -> tuple[str, int, list[Path]]:
    command = [sys.executable, "-c", CHILD, kind]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOT})
    return done.stdout, done.returncode, list(folder.glob("core*"))


def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    """The process is not dumpable, its limit is 0 for good, and an abort leaves no core file."""
    printed, code, cores = abort("hard", tmp_path)
    assert code == -6
    assert "(0, 0)" in printed
    assert "dumpable 0" in printed
    assert cores == []


@pytest.mark.skipif(os.geteuid() != 0, reason="by hand only root may lock so much memory")
def test_no_page_is_swapped_out(tmp_path: Path) -> None:
    """All of it is locked."""
    locked = {kind: int(abort(kind, tmp_path)[0].split(" kB locked")[0].split()[-1]) for kind in ("hard", "soft")}
    assert locked["soft"] == 0
    assert locked["hard"] > 10_000


def test_without_it_the_process_would_be_dumpable(tmp_path: Path) -> None:
    """The same program without the call is dumpable: the test above can fail."""
    printed, code, _ = abort("soft", tmp_path)
    assert code == -6
    assert "dumpable 1" in printed
