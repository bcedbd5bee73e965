"""`fer-agent run` as a process, with a small camera on the network, a configuration to edit, and its status socket."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from agent.device.status_socket import ask
from agent.errors import UnavailableError
from tests.mqtt_world import wait_until

ROOT = Path(__file__).resolve().parents[2]
START_S = 90
"""A start takes a second or two; a busy machine may need much longer."""
POLICY = """
[policy]
controller = "Example School, privacy@school.example"
purpose = "Test"
legal_basis = "DPIA 2026-04"
consent = "Written"
setting = "research"
jurisdiction = "CH"
"""


class Agent:
    """Context manager: the service in a folder of its own. Tests `write` its configuration and `start` it."""

    def __init__(self, folder: Path, source: str, port: int, **window: float) -> None:
        self.folder, self.config, self.state = folder, folder / "agent.toml", folder / "state"
        self.log = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._source, self._port = source, port
        self.write(**window)

    def write(self, window_s: float = 2, more: str = "") -> None:
        """Write agent.toml: one tile, short time-outs."""
        self.config.write_text(
            f'[agent]\nsite = "test"\nstate_dir = "{self.state}"\n[camera]\nsource = "{self._source}"\nfps = 4\n'
            "open_timeout_s = 3\nread_timeout_s = 3\nretry_max_s = 1\n[detect]\nsmallest_face_px = 64\n"
            f"[classify]\nthreads = 1\n[engagement]\nwindow_s = {window_s}\n"
            f'[privacy]\npause_file = "{self.folder}/pause"\n'
            f"[mqtt]\nport = {self._port}\nkeepalive_s = 5\n{POLICY}{more}"
        )

    def start(
        self, *before: str, stdin: int = subprocess.DEVNULL, stderr: IO[bytes] | int | None = None, **environ: str
    ) -> None:
        """Start it; `before` goes in front of the command, stderr is appended to `log` unless given."""
        command = [*before, sys.executable, "-B", "-m", "agent", "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=stdin,
                stderr=log if stderr is None else stderr,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", **environ},
            )

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; show where its threads are if it does not end."""
        self.process.send_signal(number)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler prints the stacks
            self.process.wait(10)
            raise AssertionError(f"it did not end within 60 s of signal {number}: {self.text()[-8000:]}") from None

    def text(self) -> str:
        """Everything that it logged."""
        return self.log.read_text(errors="replace")

    def until(self, true: Callable[[], object], timeout: float = START_S) -> None:
        """Wait until `true()`; fail at once if it has ended."""

        def now() -> object:
            ended = self.process.poll() is not None
            found = true()
            assert found or not ended, f"it ended with {self.process.returncode}: {self.text()[-2000:]}"
            return found

        wait_until(now, timeout, self.log.name)

    def says(self, words: str, timeout: float = START_S) -> None:
        """Wait until it has logged these words."""
        self.until(lambda: words in self.text(), timeout)

    def status(self) -> dict[str, Any]:
        """What it answers over its socket; empty while there is none."""
        try:
            return ask(self.folder / "status.sock")
        except UnavailableError:
            return {}
