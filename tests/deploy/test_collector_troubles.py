"""Broker or database away: every open page is told, and who asks whether to start the collector again."""

import asyncio
import http.client
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update
from sqlalchemy.exc import OperationalError

from agent.device.clock import DeviceClock
from deploy.collector.bench.lessons import free_port, running_broker, topic_of, window_of
from deploy.collector.bench.scratch_postgres import scratch_postgres
from deploy.collector.broker import Address, Broker
from deploy.collector.database import open_database
from deploy.collector.hub import Hub
from deploy.collector.ingest import Ingest
from deploy.collector.messages import Message, parse_message
from deploy.collector.store import Store
from deploy.collector.tables import live as live_rows
from deploy.collector.tally import Tally
from tests.deploy.conftest import NOW_MS, control_postgres, failing
from tests.deploy.page_world import TOKEN, World, collector, world

WELL, NO_BROKER, NO_DATABASE = ({"broker": b, "database": d} for b, d in ((None, None), ("away", None), (None, "away")))


@contextmanager
def live(page: World) -> Iterator[Iterator[tuple[str, Any]]]:
    """An open page's stream: (event, data) as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", page.page, timeout=40)
    connection.request("GET", "/api/live", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()

    def events() -> Iterator[tuple[str, Any]]:
        name = ""
        while line := answer.readline().decode().strip("\n\r") or " ":
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, json.loads(line[6:])

    yield events()
    connection.close()


def told(events: Iterator[tuple[str, Any]]) -> Any:
    """The next trouble that the page hears of."""
    return next(data for name, data in events if name == "trouble")


def health(page: World) -> tuple[int, str]:
    status, _, body = page.get("/healthz", token=None)
    return status, body.decode()


@pytest.mark.usefixtures("mosquitto")
def test_a_broker_that_is_away_is_told_and_no_reason_to_kill(tmp_path: Path) -> None:
    """A page hears right after its hello how things are, and then of each change; `/api/rooms` says the same, and a
    readiness probe still gets 200."""
    page = World(free_port(), free_port(), f"sqlite:///{tmp_path}/w.db")
    broker = ExitStack()
    broker.enter_context(running_broker(page.broker))
    with collector(page, tmp_path), live(page) as events:
        assert [next(events)[0], next(events)] == ["hello", ("trouble", WELL)]
        assert health(page) == (200, "ok\n")
        broker.close()
        assert told(events) == NO_BROKER
        assert health(page) == (200, "ok\nbroker away\n")
        assert page.json("/api/rooms")["trouble"] == NO_BROKER
        assert page.json("/api/stats")["links"]["broker"]["away"]
        with running_broker(page.broker):
            assert told(events) == WELL
            assert page.json("/api/rooms")["trouble"] == WELL


@pytest.mark.usefixtures("mosquitto", "postgres")
def test_a_database_that_is_away_is_told(tmp_path: Path) -> None:
    """While PostgreSQL is down pages hear it, and a probe gets 503 with a word for each trouble."""
    with scratch_postgres() as url, world(tmp_path, url) as page, live(page) as events:
        assert told(events) == WELL
        control_postgres(url, "stop", "-m", "immediate")
        assert told(events) == NO_DATABASE
        assert health(page) == (503, "database away\n")
        assert page.json("/api/rooms")["trouble"] == NO_DATABASE
        control_postgres(url, "start")
        assert told(events) == WELL
        assert health(page) == (200, "ok\n")


async def heard(hub: Hub, stream: Any, name: str) -> Any:
    """Data of the next event of this name, while the hub runs."""
    async for text in stream:
        if f"event: {name}\n" in text:
            return json.loads(text.split("data: ")[1])
    raise AssertionError("the stream ended")


def running(hub: Hub, steps: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run a hub, with one page open, as long as `steps` takes with the page's stream."""

    async def both() -> Any:
        task = asyncio.create_task(hub.run())
        try:
            return await asyncio.wait_for(steps(hub.stream()), 30)
        finally:
            task.cancel()

    return asyncio.run(both())


def test_a_database_that_takes_nothing_is_away(engine: Engine) -> None:
    """It can be read and not written, because its disk is full: for who looks at the page that is the database."""
    ingest = Ingest(Broker(Address()), Store(engine), Tally())
    ingest.stop()  # before the second try
    with failing(engine, "INSERT", 1):
        assert not ingest._patiently(lambda: ingest._write(messages(1)))
    hub = Hub(engine, ingest)

    async def steps(stream: Any) -> Any:
        first, then = await heard(hub, stream, "trouble"), await heard(hub, stream, "trouble")
        return first, then

    assert running(hub, steps) == (WELL, {"broker": "away", "database": "away"})


def messages(*seqs: int) -> list[Message]:
    return [
        parse_message(topic_of(room), window_of(room, seq, NOW_MS + seq * 60_000)) for seq in seqs for room in (1, 2)
    ]


def test_a_poll_that_failed_half_way_is_done_again(engine: Engine) -> None:
    """A room that is new while the database fails in the middle is shown by the next poll, and so are the others."""
    hub = Hub(engine)
    Store(engine).write(messages(1), 1)
    with failing(engine, "FROM windows", 1), pytest.raises(OperationalError):
        hub._poll()
    hub._poll()
    assert [(room["agent"], room["window"]["seq"]) for room in hub.rooms] == [("fer-1", 1), ("fer-2", 1)]


def test_pages_load_anew_after_a_failed_poll(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed poll had changed already no page was told of: each loads all when the database is back."""
    monkeypatch.setattr("deploy.collector.hub._AT_ONCE", 1)  # room by room
    hub = Hub(engine)
    Store(engine).write(messages(1), 1)

    async def steps(stream: Any) -> Any:
        assert await heard(hub, stream, "trouble") == WELL
        assert await heard(hub, stream, "trouble") == NO_DATABASE
        return await heard(hub, stream, "reload")

    with failing(engine, "FROM windows", 2):  # the second room's trend: the first one is there by then
        assert running(hub, steps) == {}
    assert len(hub.rooms) == 2


def test_pages_load_anew_when_the_clock_is_set(sqlite_url: str) -> None:
    """A collector that came up a week behind until its clock was set: a page that loaded before would call a room that
    is silent since "Live" for that week. Each loads all, and with it the time."""
    engine, ahead = open_database(sqlite_url), [0.0]
    hub = Hub(engine)
    hub._clock = DeviceClock(wall=lambda: time.time() + ahead[0])

    async def steps(stream: Any) -> Any:
        await heard(hub, stream, "trouble")
        ahead[0] = 7 * 86_400
        return await heard(hub, stream, "reload")

    assert running(hub, steps) == {}
    engine.dispose()


def many(rooms: int, seqs: range) -> list[Message]:
    return [parse_message(topic_of(r), window_of(r, s, NOW_MS + s * 60_000)) for r in range(rooms) for s in seqs]


def test_the_first_poll_asks_for_many_rooms_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that starts with many rooms asks for hundreds of them at once, and has each room's own newest windows."""
    monkeypatch.setattr("deploy.collector.hub._AT_ONCE", 50)
    Store(engine).write(many(100, range(1, 44)), 1)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cu, statement, *_: asked.append(statement))
    hub = Hub(engine)
    hub._poll()
    assert len([words for words in asked if "FROM windows" in words or "JOIN windows" in words]) == 2
    assert len(asked) < 12
    assert {len(room["trend"]) for room in hub.rooms} == {40}
    for room in hub.rooms[::33]:
        number = int(room["agent"][4:])
        values = [json.loads(window_of(number, s, 0))["engagement"]["value"] for s in range(4, 44)]
        assert room["trend"] == [(NOW_MS + s * 60_000, v) for s, v in zip(range(4, 44), values, strict=True)]


def test_a_slow_database_that_answers_is_not_away(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first poll that takes long because there are many rooms, each question answered in time, is no trouble; one
    question that is not answered in that time is."""
    engine = open_database(sqlite_url)
    Store(engine).write(many(6, range(1, 2)), 1)
    monkeypatch.setattr("deploy.collector.hub._AT_ONCE", 1)
    monkeypatch.setattr("deploy.collector.hub._SLOW_S", 1.5)
    took = {"s": 0.3}
    event.listen(engine, "before_cursor_execute", lambda *_: time.sleep(took["s"]))

    async def steps(hub: Hub) -> list[bool]:
        task, seen = asyncio.create_task(hub.run()), []
        while len(hub.rooms) < 6:
            await asyncio.sleep(0.1)
            seen.append(hub.troubles.away("database"))
        took["s"] = 4
        await asyncio.sleep(3.5)
        task.cancel()
        return [any(seen), hub.troubles.away("database")]

    assert asyncio.run(steps(Hub(engine))) == [False, True]
    engine.dispose()


def test_a_row_that_cannot_be_read_is_told(engine: Engine) -> None:
    """Somebody else's hand in the database: the page says that it is behind, and goes on when the row is well again."""
    hub = Hub(engine)
    Store(engine).write(messages(1), 1)
    with engine.begin() as connection:
        (good,) = connection.execute(select(live_rows.c.window).limit(1)).one()
        connection.execute(update(live_rows).values(window="{"))

    async def steps(stream: Any) -> Any:
        assert await heard(hub, stream, "trouble") == WELL
        assert await heard(hub, stream, "trouble") == NO_DATABASE
        with engine.begin() as connection:
            connection.execute(update(live_rows).values(window=good))
        return await heard(hub, stream, "reload")

    assert running(hub, steps) == {}
