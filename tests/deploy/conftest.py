"""Fixtures of the collector's tests: a real broker, real databases, a collector in a thread, an agent that answers."""

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the collector's extra is not installed")

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError

from agent.errors import UnavailableError
from deploy.collector.bench.lessons import find_mosquitto, free_port, running_broker, topic_of, window_of
from deploy.collector.bench.scratch_postgres import find_programs, scratch_postgres
from deploy.collector.broker import Address, Broker
from deploy.collector.database import open_database
from deploy.collector.ingest import Ingest
from deploy.collector.messages import Message, parse_message
from deploy.collector.store import Store
from deploy.collector.tally import Tally

MINUTE = 60_000
NOW_MS = 1_790_000_000_000 // 3_600_000 * 3_600_000


def wait_for(what: Callable[[], Any], seconds: float = 15) -> Any:
    """Return the first true value of `what`, or fail."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := what():
            return value
        time.sleep(0.05)
    pytest.fail(f"nothing came within {seconds} s")


def needed(find: Callable[[], object]) -> None:
    """Skip where a program is absent. One that is there and does not start is a failure."""
    try:
        find()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mosquitto() -> None:
    """For tests that start one."""
    needed(find_mosquitto)


@pytest.fixture(scope="session")
def postgres() -> None:
    """For tests that start one."""
    needed(find_programs)


@pytest.fixture
def broker_port(mosquitto: None) -> Iterator[int]:
    """A broker of our own."""
    with running_broker() as port:
        yield port


@pytest.fixture(scope="session")
def postgres_server(postgres: None) -> Iterator[str]:
    """A PostgreSQL of our own; the URL of its maintenance database."""
    with scratch_postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty database in it, for one test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    administer(postgres_server, f"CREATE DATABASE {name}")
    yield postgres_server.replace("/postgres?", f"/{name}?")
    administer(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def administer(url: str, command: str) -> None:
    """Run one command outside of a transaction."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(command))
    engine.dispose()


def control_postgres(url: str, *command: str) -> None:
    """Stop or start a server of `scratch_postgres`: "stop", "-m", "immediate"; "start"."""
    folder = url.rpartition("=")[2]
    prefix = ["runuser", "-u", Path(folder).owner(), "--"] if os.geteuid() == 0 else []
    options = ["-w", "-l", f"{folder}/log", "-o", f"-c listen_addresses='' -k {folder}"]
    program = [*prefix, str(find_programs() / "pg_ctl"), "-D", f"{folder}/data"]
    program += options if command[0] == "start" else []
    subprocess.run([*program, *command], check=True, stdout=subprocess.DEVNULL, cwd=folder)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/windows.db"


def window(room: int, seq: int, **more: Any) -> Message:
    return parse_message(topic_of(room), window_of(room, seq, NOW_MS + seq * MINUTE, **more))


def message(topic: str, **body: Any) -> Message:
    return parse_message(topic_of(1, topic), json.dumps(body).encode())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each of the two databases, empty."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@contextmanager
def failing(engine: Engine, words: str, which: int) -> Iterator[None]:
    """The database fails once, at such a statement that holds `words`: 1 is the first."""
    seen = []

    def fail(_c: Any, _cu: Any, statement: str, *_: Any) -> None:
        if words in statement:
            seen.append(statement)
            if len(seen) == which:
                raise OperationalError(statement, {}, Exception("the disk went away"))

    event.listen(engine, "before_cursor_execute", fail)
    yield
    event.remove(engine, "before_cursor_execute", fail)
    assert len(seen) >= which


@contextmanager
def collecting(port: int, engine: Engine, **address: Any) -> Iterator[Tally]:
    """Run a collector in a thread; yield its counters once it has subscribed."""
    tally = Tally()
    with Broker(Address(port=port, **address)) as broker:
        ingest = Ingest(broker, Store(engine), tally)
        worker = threading.Thread(target=ingest.run)
        worker.start()
        try:
            wait_for(lambda: broker.hears_windows)
            yield tally
        finally:
            ingest.stop()
            worker.join(20)
            assert not worker.is_alive()


class Room:
    """A made-up agent: publishes windows, keeps what is not acknowledged, answers `resend`. Deaf if told so."""

    def __init__(self, port: int, number: int = 1, *, deaf: bool = False, epoch: str = "1") -> None:
        self.number, self.epoch, self.acked, self.asked = number, epoch, 0, []
        self._spool: dict[int, bytes] = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, f"room-{number}", protocol=mqtt.MQTTv5)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        topics = [topic_of(number, "ack")] + ([] if deaf else [topic_of(number, "cmd/#")])
        self.client.subscribe([(topic, 1) for topic in topics])
        self.client.loop_start()

    def keep(self, *seqs: int) -> None:
        """Have these windows, but do not send them."""
        for seq in seqs:
            self._spool[seq] = window_of(self.number, seq, NOW_MS + 60_000 * seq, epoch=self.epoch)

    def send(self, *seqs: int) -> None:
        self.keep(*seqs)
        for seq in seqs:
            self.publish("window", self._spool[seq])

    def publish(self, kind: str, body: bytes | dict[str, Any], **options: Any) -> None:
        body = json.dumps(body) if isinstance(body, dict) else body
        self.client.publish(topic_of(self.number, kind), body, qos=1, **options).wait_for_publish(10)

    def _on_message(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        body = json.loads(message.payload)
        if message.topic.endswith("/ack"):
            self.acked = body["upto_seq"] if body["epoch"] == self.epoch else self.acked
            return
        self.asked.append((body["from"], body["to"]))
        for seq in range(body["from"], body["to"] + 1):
            if seq in self._spool:
                late = json.loads(self._spool[seq]) | {"replay": True}
                client.publish(topic_of(self.number), json.dumps(late), qos=1)
        asked, properties = message.properties, Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = asked.CorrelationData
        body = json.dumps({"cmd": "resend", "ok": True})
        client.publish(asked.ResponseTopic, body, qos=1, properties=properties)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def room(broker_port: int) -> Iterator[Room]:
    room = Room(broker_port)
    yield room
    room.close()


def count(engine: Engine, query: str = "SELECT count(*) FROM windows") -> int:
    with engine.connect() as connection:
        return connection.execute(text(query)).scalar_one()


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser of the module's own."""
    from tests.deploy.browser import chromium  # not at the top: it needs this file

    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


__all__ = [
    "MINUTE",
    "NOW_MS",
    "Room",
    "administer",
    "collecting",
    "control_postgres",
    "count",
    "failing",
    "free_port",
    "message",
    "wait_for",
    "window",
]
