"""A whole collector for the page's tests: a broker, `fer-collector run` as a process, rooms that publish."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from deploy.collector.bench.ingest import running_collector
from deploy.collector.bench.lessons import free_port, running_broker, suppressed_window, topic_of, window_of
from deploy.collector.database import open_database
from tests.deploy.conftest import wait_for

TOKEN = "the-token-of-these-tests"
MINUTE = 60_000


class World:
    """One running collector and its page."""

    def __init__(self, broker: int, page: int, db: str) -> None:
        self.broker, self.page, self.db = broker, page, db
        self.url = f"http://127.0.0.1:{page}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "rooms", protocol=mqtt.MQTTv5)
        self._client.max_inflight_messages_set(500)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self.broker)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, room: int, kind: str, body: bytes | dict[str, Any]) -> None:
        """Publish one message of a room."""
        body = json.dumps(body) if isinstance(body, dict) else body
        self._client.publish(topic_of(room, kind), body, qos=1).wait_for_publish(10)

    def history(self, room: int, minutes: int, *, without: range = range(0), suppressed: range = range(0)) -> int:
        """Publish a window a minute up to now. The two ranges count minutes before now; return the end, ms."""
        end = now_ms()
        first = minutes - 1
        for back in range(first, -1, -1):
            seq, at = first - back + 1, end - back * MINUTE
            if back in without:
                continue
            make = suppressed_window if back in suppressed else window_of
            info = self._client.publish(topic_of(room), make(room, seq, at), qos=1)
        if without:
            gap = {"from": first - max(without) + 1, "to": first - min(without) + 1}
            self.publish(room, "event", {"kind": "gap", "epoch": "1", "reason": "cap", "at_ms": end, **gap})
        info.wait_for_publish(30)
        wait_for(lambda: self.seq(room) == minutes, 30)
        return end

    def seq(self, room: int) -> int | None:
        """Sequence number of the newest window of a room that the page knows."""
        agent = topic_of(room).split("/")[4]
        found = [r for r in self.json("/api/rooms")["rooms"] if r["agent"] == agent and r["window"]]
        return found[0]["window"]["seq"] if found else None

    def json(self, path: str) -> Any:
        status, _, body = self.get(path)
        assert status == 200, body[:300]
        return json.loads(body)

    def get(self, path: str, *, token: str | None = TOKEN, method: str = "GET", **more: Any) -> Any:
        """Ask the page; return (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.page, timeout=20)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, headers=headers | more.pop("headers", {}), **more)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body


def room_path(room: int) -> str:
    """SITE/ROOM/AGENT of a made-up room."""
    return "/".join(topic_of(room).split("/")[2:5])


@contextmanager
def world(folder: Path, db: str | None = None) -> Iterator[World]:
    """Run broker, collector and page. Raises UnavailableError where there is no mosquitto."""
    db = db or f"sqlite:///{folder}/windows.db"
    with running_broker() as broker, World(broker, free_port(), db) as found, collector(found, folder):
        yield found


@contextmanager
def collector(found: World, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run its collector until the end of the block; yield its process."""
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    options = ("--listen", f"127.0.0.1:{found.page}", "--token-file", str(folder / "token"))
    with running_collector(found.broker, found.db, *options) as process:
        wait_for(lambda: _answers(found), 20)
        yield process


def _answers(found: World) -> bool:
    try:
        return bool(found.get("/healthz", token=None)[0] == 200)
    except OSError:
        return False


def now_ms() -> int:
    """Wall time, UTC milliseconds."""
    return int(time.time() * 1000)


@contextmanager
def served(folder: Path, url: str, *shell: str) -> Iterator[int]:
    """Serve the page of an empty database, run by `shell` if given; yield its port. It writes into the file `log`."""
    open_database(url).dispose()
    (folder / "token").write_text(TOKEN)
    port = free_port()
    options = ["--db", url, "--listen", f"127.0.0.1:{port}", "--token-file", str(folder / "token")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*shell, sys.executable, "-m", "deploy.collector", "serve", *options], stderr=log)
    try:
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 30)
        yield port
    finally:
        process.terminate()
        process.wait(20)
