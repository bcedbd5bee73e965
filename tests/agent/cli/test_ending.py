"""How the programs end: exit code, at most one line on stderr, never a traceback."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from agent.cli import cli

LATIN = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
BROKEN = """
import sys
from agent.cli import cli, main
from agent.cli.explain import command
def fail(**_): {what}
command.callback = fail
sys.argv = ["fer-agent", "explain"]
main()
"""


def shell(command: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `agent` is the program."""
    line = command.replace("agent ", f"{sys.executable} -m agent ")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, timeout=100, env={**os.environ, **environ}
    )


@pytest.mark.parametrize("command", ["config schema", "config init", "explain --json", "models --help", "--help"])
def test_a_reader_that_goes_away_is_no_failure(command: str) -> None:
    """`fer-agent … | true` ends with 0 and says nothing."""
    done = shell(f"agent {command} | true")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["config schema", "explain", "explain --json", "--help"])
def test_a_full_disk_behind_stdout_is_one_line(command: str) -> None:
    """`fer-agent … > /dev/full`: exit 73 and one line."""
    done = shell(f"agent {command} > /dev/full")
    assert done.returncode == 73
    assert done.stderr.decode().splitlines() == ["error: stdout: cannot be written: No space left on device"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_file_behind_stdout_that_may_not_grow_is_one_line(unbuffered: str) -> None:
    """A limit of the shell, or a stick with FAT: exit 73, and no error of ours, also where Python buffers nothing."""
    line = 'f="$(mktemp)"; ulimit -f 1; agent config schema > "$f"; code=$?; rm "$f"; exit $code'
    done = shell(line, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 73
    assert done.stderr.decode().splitlines() == ["error: stdout: cannot be written: File too large"]


def test_a_terminal_without_unicode_gets_all_the_rest() -> None:
    """Where stdout is Latin-1, `explain` shows its text, with "?" for what cannot be shown, and exits 0."""
    done = shell("agent explain", **LATIN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"ENGAGEMENT INDEX" in done.stdout


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("raise RuntimeError('two\\nlines')", 70, "error: internal: RuntimeError: two lines"),
        ("open('/proc/1/mem/x')", 70, "error: internal: NotADirectoryError"),
        ("raise OSError(28, 'No space left on device', '/data/x')", 73, "error: [Errno 28] No space left on device"),
        ("import nosuch.part", 69, "error: expected the Python package nosuch"),
        ("import agent.nosuch", 70, "error: internal: ModuleNotFoundError"),
        ("raise PermissionError(13, 'no', '/etc/fer-agent')", 77, "error: /etc/fer-agent: permission denied"),
    ],
)
def test_an_unforeseen_error_is_one_line(what: str, code: int, says: str) -> None:
    """Whatever a command raises: one line, and exit 70 (69 for a package that an extra brings, 77 for
    a file that may not be read)."""
    program = BROKEN.format(what=what)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (code, "")
    assert line.startswith(says)


def test_ctrl_c_is_no_failed_check() -> None:
    """It ends with 130, as shells expect, and says nothing."""
    program = BROKEN.format(what="raise KeyboardInterrupt")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_an_error_in_a_thread_is_one_line() -> None:
    """An error that ends a thread is one line, too."""
    program = BROKEN.format(what="import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: internal: ZeroDivisionError")


@pytest.mark.parametrize(
    "words", ["replay v.mp4 --window nan", "bench --seconds nan", "simulate --speed nan", "tail --seconds NaN"]
)
def test_nan_is_no_number(words: str) -> None:
    """An option that takes a number refuses nan before anything starts."""
    done = CliRunner().invoke(cli, words.split())
    assert done.exit_code == 2
    assert "is not a number" in done.output
