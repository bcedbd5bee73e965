"""`fer-collector demo`: one command shows rooms that live; however it ends, nothing of it is left."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import free_port, wait_for


def rooms(port: int, token: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/api/rooms", headers={"Authorization": f"Bearer {token}"})
        return json.loads(connection.getresponse().read())["rooms"]
    except OSError:
        return []
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    """What a process started, and what that started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    direct = [int(word) for word in found.split()]
    return direct + [inner for child in direct for inner in children(child)]


def gone(pid: int) -> Callable[[], bool]:
    return lambda: not Path(f"/proc/{pid}").exists()


class Demo:
    """One that runs, with the folder that it takes for /tmp."""

    def __init__(self, folder: Path) -> None:
        self.port, self.said, self.tmp = free_port(), folder / "said", folder / "tmp"
        self.tmp.mkdir()
        command = [sys.executable, "-m", "deploy.collector", "demo", "--rooms", "3", "--speed", "600"]
        environment = os.environ | {"TMPDIR": str(self.tmp)}
        with self.said.open("wb") as file:
            listen = ("--listen", f"127.0.0.1:{self.port}")
            self.process = subprocess.Popen(
                [*command, *listen],
                stderr=file,
                env=environment,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # `nohup` ignores it, for all below
            )

    def token(self) -> str:
        """That of the address it names."""
        return str(wait_for(lambda: re.search(r"/login#(\S+)", self.said.read_text()), 60)[1])

    def started(self) -> list[int]:
        """Wait for the broker; return every process below this one."""
        return list(wait_for(lambda: children(self.process.pid), 60))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    demo.process.kill()
    demo.process.wait()


def test_demo(demo: Demo) -> None:
    """One command shows rooms that live, at the address it names; when it ends nothing of it is left."""
    token = demo.token()
    found = wait_for(lambda: [r for r in rooms(demo.port, token) if r["window"] and len(r["trend"]) > 5], 60)
    assert {room["site"] for room in found} == {"school-01"}
    started = demo.started()
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0, demo.said.read_text()
    nothing_is_left(demo, started)


def nothing_is_left(demo: Demo, started: list[int]) -> None:
    for pid in started:
        wait_for(gone(pid))
    assert list(demo.tmp.iterdir()) == []
    assert "Traceback" not in demo.said.read_text()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("serving", [False, True])
def test_a_closed_terminal_leaves_nothing(demo: Demo, number: signal.Signals, serving: bool) -> None:
    """SIGHUP and SIGTERM, as soon as there is a broker or while the page is served, end it as Ctrl-C does."""
    started = demo.started()
    if serving:
        token = demo.token()
        wait_for(lambda: rooms(demo.port, token), 60)
    demo.process.send_signal(number)
    time.sleep(0.05)
    demo.process.send_signal(number)  # a shell that ends tells it again
    assert demo.process.wait(30) >= 0, "it was ended by the signal"
    nothing_is_left(demo, started)


def test_a_killed_demo_leaves_no_broker(demo: Demo) -> None:
    """Not even SIGKILL leaves a process behind."""
    started = demo.started()
    demo.token()
    demo.process.kill()
    for pid in started:
        wait_for(gone(pid))
