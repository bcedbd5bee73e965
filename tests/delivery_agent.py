"""An agent's delivery as a process of its own that a test can kill: publishes windows, and notes each that closed."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from agent.delivery.publish import Publisher
from agent.delivery.wallclock import media_clock
from agent.errors import FerAgentError
from tests.mqtt_world import FAST, MADE_BY, settings, summary


def main(port: int, state: str, notes: str, interval_s: float, count: int | None = None, agent: str = "fer") -> None:
    """Publish a window each `interval_s`; SIGTERM ends it well. A line in `notes` is a window that closed."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    fd = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with Publisher(settings(port, agent), MADE_BY, clock=media_clock(0), pace=FAST, state_dir=Path(state)) as publisher:
        publisher.state("ready")
        for number in itertools.count() if count is None else range(count):
            if ended:
                break
            # The start is different in every process, so a reused number would show as another window.
            publisher(summary(number, at=time.monotonic_ns() / 1e9))
            os.write(fd, b"%d\n" % publisher.newest_seq)
            time.sleep(interval_s)


class Nursery:
    """Context manager: starts agents by forking a process that has imported everything, in milliseconds."""

    def __enter__(self) -> "Nursery":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.delivery_agent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def start(self, port: int, state: Path, notes: Path, interval_s: float, agent: str = "fer") -> int:
        """Start an agent; its process id."""
        return int(self._ask(f"{port} {state} {notes} {interval_s} {agent}"))

    def end(self, pid: int, number: int) -> int:
        """Send it a signal and wait for its end; its exit code, or minus the signal that ended it."""
        os.kill(pid, number)
        return int(self._ask(f"wait {pid}"))

    def _ask(self, line: str) -> str:
        self._process.stdin.write(line + "\n")
        return self._process.stdout.readline()


def _serve() -> None:
    for line in sys.stdin:
        words = line.split()
        if words[0] == "wait":
            print(os.waitstatus_to_exitcode(os.waitpid(int(words[1]), 0)[1]), flush=True)
        elif (pid := os.fork()) == 0:
            _be_agent(words)
        else:
            print(pid, flush=True)


def _be_agent(words: list[str]) -> None:
    code = 70
    try:
        main(int(words[0]), words[1], words[2], float(words[3]), agent=words[4])
        code = 0
    except FerAgentError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
