"""The runtime's own words on stderr."""

import os
import subprocess
import sys

import pytest

from agent.vision.runtime import _without_notices

pytestmark = pytest.mark.wheel

PROGRAM = """
from agent.vision import weights
from agent.vision.runtime import choose

choose().interpreter(weights.read(weights.SHORT_RANGE), 1)
print("made")
"""


@pytest.mark.parametrize("stderr", ["2>&1", "2>&-", "2>/dev/full"])
def test_its_notices_are_no_lines_of_a_log(stderr: str) -> None:
    """Nothing is said where a network is made; a closed or full stderr keeps nobody from it."""
    command = ["sh", "-c", f'"$0" -c "$1" {stderr}', sys.executable, PROGRAM]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "made\n")


def test_all_but_notices_is_let_go_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Warnings and errors of native code arrive, in order, and so does what comes after."""
    with _without_notices():
        os.write(2, b"WARNING: one\nINFO: two\nERROR: three\n")
    os.write(2, b"four\n")
    assert capfd.readouterr().err == "WARNING: one\nERROR: three\nfour\n"
