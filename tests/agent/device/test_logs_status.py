"""Logs that live through a dead stderr, and the status over a real local socket."""

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.delivery.publish import Publisher
from agent.device.logs import OneLine, RateLimit
from agent.device.status_socket import StatusSocket, ask
from agent.errors import UnavailableError
from tests.mqtt_world import FAST, MADE_BY, settings, summary


def record(message: str, level: int = logging.WARNING, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("agent.x", level, __file__, 1, message, arguments, None)


def test_line_for_the_journal() -> None:
    """Under systemd a line is its priority and the event, nothing else, and stays one line."""
    assert OneLine("text", journal=True).format(record("event=a reason=%r", logging.ERROR, "x\ny")) == (
        "<3>event=a reason='x\\ny'"
    )
    assert OneLine("text", journal=True).format(record("a\nb", logging.INFO)) == "<6>a\\nb"


def test_json_keeps_the_words_beside_the_pairs() -> None:
    """What to do about it stands in the sentence."""
    told = json.loads(
        OneLine("json", journal=False).format(record("event=mqtt.too_large the broker refuses it: raise its limit"))
    )
    assert told["event"] == "mqtt.too_large"
    assert told["message"].endswith("raise its limit")


def test_json_line() -> None:
    """With JSON an event's pairs are fields."""
    line = OneLine("json", journal=False).format(record('event=mqtt.lost host=h reason="no route"'))
    assert json.loads(line) == {
        "level": "warning",
        "logger": "agent.x",
        "event": "mqtt.lost",
        "host": "h",
        "reason": "no route",
    }


def test_repeats_are_held_back() -> None:
    """Of 100 equal events in a minute five pass; the first one after it says how many were not written."""
    now = [0.0]
    limit = RateLimit(lambda: now[0])
    assert sum(limit.filter(record("event=a")) for _ in range(100)) == 5
    assert limit.filter(record("event=b"))
    now[0] = 61
    last = record("event=a")
    assert limit.filter(last)
    assert last.getMessage() == "event=a held_back=95"


def test_lines_of_one_form_are_as_many_events_as_they_name() -> None:
    """A camera that flaps does not hold back the heat, which the same code tells of."""
    limit, log = RateLimit(lambda: 0.0), logging.getLogger("x")
    flaps = [log.makeRecord("x", 30, "f", 1, "event=%s detail=%r", ("camera.lost", str(n)), None) for n in range(20)]
    assert sum(map(limit.filter, flaps)) == 5
    assert limit.filter(log.makeRecord("x", 30, "f", 1, "event=%s detail=%r", ("thermal.hot", ""), None))


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_dead_stderr_does_not_end_the_program(stderr: str) -> None:
    """With stderr closed or full, a program that logs goes on and exits 0."""
    code = (
        "import logging; from agent.device.logs import set_up; set_up()\n"
        "for i in range(100): logging.getLogger('x').error('event=%d', i)\n"
        "print('alive')"
    )
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {stderr}', sys.executable, code], stdout=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_status_over_the_socket(tmp_path: Path) -> None:
    """A client gets the report as JSON; the socket is closed to others and gone afterwards."""
    path = tmp_path / "run" / "status.sock"
    with StatusSocket(path, lambda: {"state": "ready", "camera": {"fps": 1.0}}):
        assert ask(path) == {"state": "ready", "camera": {"fps": 1.0}}
        assert path.stat().st_mode & 0o007 == 0
        assert ask(path)["state"] == "ready"
    assert not path.exists()


def test_status_tells_what_waits_and_what_troubles_the_delivery(tmp_path: Path) -> None:
    """Windows that wait for a broker are counted with their bytes; a spool that is only in memory is "degraded"."""
    with Publisher(settings(1), MADE_BY, pace=FAST, state_dir=tmp_path / "state") as publisher:
        publisher(summary(1))
        told = publisher.report()
        assert told["spool"]["windows"] == 1
        assert told["spool"]["bytes"] > 100
        assert told["delivery"] == {"state": "init", "reason": None}
    (tmp_path / "file").touch()
    with Publisher(settings(1), MADE_BY, pace=FAST, state_dir=tmp_path / "file") as publisher:
        told = publisher.report()["delivery"]
        assert told["state"] == "degraded"
        assert told["reason"].startswith("spool in memory")


def test_a_client_that_hangs_does_not_block_the_next(tmp_path: Path) -> None:
    """A client that connects and never reads is dropped after two seconds; the next one is served."""
    path = tmp_path / "status.sock"
    with StatusSocket(path, lambda: {"big": "x" * 900_000}), socket.socket(socket.AF_UNIX) as rude:
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        rude.connect(str(path))
        assert len(ask(path)["big"]) == 900_000


def test_a_report_that_fails_is_an_answer(tmp_path: Path) -> None:
    """A bug in the report is told to the client and does not end the thread."""
    path = tmp_path / "status.sock"
    with StatusSocket(path, lambda: {"x": 1 / 0}):
        assert ask(path) == {"error": "ZeroDivisionError"}
        assert ask(path) == {"error": "ZeroDivisionError"}


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket left behind by a killed agent does not keep the next one from listening."""
    path = tmp_path / "status.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with StatusSocket(path, lambda: {"state": "ready"}):
        assert ask(path) == {"state": "ready"}


def test_no_place_for_the_socket_is_no_error(tmp_path: Path) -> None:
    """Where the socket cannot be made, the agent goes on without."""
    (tmp_path / "file").touch()
    with StatusSocket(tmp_path / "file" / "status.sock", dict):
        pass


def test_no_agent_is_exit_69(tmp_path: Path) -> None:
    """`fer-agent status` without an agent is one line and exit code 69; with one it prints its report."""
    path = tmp_path / "status.sock"
    with pytest.raises(UnavailableError, match="is it running"):
        ask(path)
    command = [sys.executable, "-m", "agent", "status", "--socket", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1
    with StatusSocket(path, lambda: {"state": "ready", "camera": {"fps": 1.0}}):
        done = subprocess.run([*command, "--json"], capture_output=True, text=True)
        assert json.loads(done.stdout) == {"state": "ready", "camera": {"fps": 1.0}}
        done = subprocess.run(command, capture_output=True, text=True)
        assert [line.split() for line in done.stdout.splitlines()] == [["state", "ready"], ["camera.fps", "1.0"]]
