"""What the page shows of now: the rows of `live`, in SQLite and in PostgreSQL."""

import json
import time
from typing import Any

import pytest
from sqlalchemy import Engine, select

from deploy.collector.bench.lessons import topic_of, window_of
from deploy.collector.database import open_database
from deploy.collector.hub import Hub
from deploy.collector.messages import Message, parse_message
from deploy.collector.store import Store, Written
from deploy.collector.tables import live
from tests.deploy.conftest import NOW_MS, Room, collecting, count, message, wait_for, window


def live_row(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(live)).one()


def test_late_delivery_does_not_move_the_present(engine: Engine) -> None:
    """A replayed or older window is stored, and the newest stays the newest."""
    store = Store(engine)
    store.write([window(1, 9)], 1)
    store.write([window(1, 10, replay=True), window(1, 3)], 2)
    assert (live_row(engine).window_seq, count(engine)) == (9, 3)


def test_the_same_window_again_is_not_heard_now(engine: Engine) -> None:
    """What a broker delivers twice, or a second collector stores too, moves no time; the next window does."""
    store = Store(engine)
    for now, seq in ((10, 9), (20, 9), (30, 10)):
        store.write([window(1, seq)], now)
        row = live_row(engine)
        assert (row.window_ms, row.changed_ms, row.window_seq) == ((10, 10, 9) if now < 30 else (30, 30, 10))
    store.write([window(1, 2, epoch="2")], 40)
    assert (live_row(engine).window_ms, live_row(engine).window_seq) == (40, 2), "of another epoch no number is older"


def test_the_page_gets_what_is_in_the_newest_window(engine: Engine) -> None:
    """All that is there, but for the names that the room has already and what serves the order of windows."""
    index = {"value": 61.0, "ci95": [55.5, 66.5], "delta": -3.5, "weights_id": "w/2"}
    dp = {"epsilon": 1.5, "mechanism": "discrete-laplace/1", "spent_today": 4.5}
    more = {"engagement": index, "dp": dp, "calibration_id": "c"}
    bodies = [window_of(1, seq, NOW_MS, **more) for seq in (8, 9, 7)]
    Store(engine).write([parse_message(topic_of(1), body) for body in bodies], 1)
    away = ("agent", "site", "room", "boot_id", "mono_start_ns", "suppressed")
    assert json.loads(live_row(engine).window) == {k: v for k, v in json.loads(bodies[1]).items() if k not in away}


def test_old_will_is_ignored(engine: Engine) -> None:
    """A `lost` of an older session changes nothing; one of this session does."""
    store = Store(engine)
    store.write([message("status", state="ready", session=5)], 1)
    store.write([message("status", state="lost", session=4)], 2)
    assert json.loads(live_row(engine).status)["state"] == "ready"
    store.write([message("status", state="lost", session=5)], 3)
    assert json.loads(live_row(engine).status)["state"] == "lost"


@pytest.mark.parametrize(("session", "state"), [(4, "ready"), (5, "lost"), (6, "lost"), (None, "ready")])
def test_a_will_in_the_batch_of_a_birth_counts_by_its_session(engine: Engine, session: int | None, state: str) -> None:
    """Birth and will taken together: the will of that session or a newer one tells, an older one's does not."""
    Store(engine).write(
        [message("status", state="ready", session=5), message("status", state="lost", session=session)], 1
    )
    row = live_row(engine)
    assert (json.loads(row.status)["state"], row.session) == (state, max(5, session or 0))


def test_cleared_status_forgets_the_card(engine: Engine) -> None:
    """An empty retained status takes a removed room off the page, keeps its history, and a birth brings it back."""
    store, hub = Store(engine), Hub(engine)
    cleared = parse_message(topic_of(1, "status"), b"")
    birth = message("status", state="ready", session=2)
    store.write([window(1, 1), birth], 1)
    hub._poll()
    assert store.write([window(1, 2), cleared], 2).stored == 1
    hub._poll()
    assert (hub.rooms, count(engine)) == ([], 2)
    store.write([cleared, birth], 3)
    assert (live_row(engine).status_ms, live_row(engine).window) == (3, None)
    assert store.write([parse_message(topic_of(9, "status"), b"")], 4) == Written()
    assert count(engine, "SELECT count(*) FROM agents") == 1


def retained(state: str, session: int) -> Message:
    body = {"state": state, "session": session}
    return parse_message(topic_of(1, "status"), json.dumps(body).encode(), retained=True)


def test_a_retained_copy_is_not_heard_now(engine: Engine) -> None:
    """What the broker repeats of a known status moves no time; a status that we missed is news."""
    store = Store(engine)
    store.write([message("status", state="disconnected", session=1)], 10)
    store.write([retained("disconnected", 1)], 99)
    assert live_row(engine).status_ms == 10
    store.write([retained("ready", 2)], 100)
    assert (live_row(engine).status_ms, json.loads(live_row(engine).status)["state"]) == (100, "ready")
    store.write([retained("lost", 1)], 101)
    assert live_row(engine).status_ms == 100


def test_page_follows_whatever_clocks_say(engine: Engine) -> None:
    """A collector an hour behind, or whose clock was set back, still moves the page; what stays is not sent again."""
    store, hub = Store(engine), Hub(engine)
    for seq, now in enumerate((NOW_MS, NOW_MS - 20_000, NOW_MS - 3_600_000, 1, 1, NOW_MS), 1):
        store.write([window(1, seq)], now)
        assert [room["window"]["seq"] for room in hub._poll()] == [seq]
        assert hub._poll() == []


def retained_meta(**body: Any) -> Message:
    return parse_message(topic_of(1, "meta"), json.dumps(body).encode(), retained=True)


def test_a_retained_meta_brings_no_room_back(engine: Engine) -> None:
    """After a room's status was cleared its meta still lies at the broker, and comes again with each connect."""
    store, hub = Store(engine), Hub(engine)
    store.write([message("status", state="ready", session=1), message("meta", version="1")], 1)
    store.write([parse_message(topic_of(1, "status"), b"")], 2)
    store.write([retained_meta(version="1")], 3)
    Store(engine).write([retained_meta(version="1")], 4)
    hub._poll()
    assert (hub.rooms, count(engine, "SELECT count(*) FROM live")) == ([], 0)


def test_a_retained_meta_is_taken_for_a_room_that_is_there(engine: Engine) -> None:
    """Who has a status, from before or in the same burst, has the meta that the broker kept."""
    store = Store(engine)
    store.write([retained_meta(version="1"), retained("ready", 1)], 1)
    assert json.loads(live_row(engine).meta) == {"version": "1"}
    store.write([retained_meta(version="2")], 2)
    assert (json.loads(live_row(engine).meta)["version"], live_row(engine).changed_ms) == ("2", 2)


def test_health_says_when_it_was_heard(engine: Engine) -> None:
    """The newest of a batch, with the time of the batch; a meta has none."""
    store = Store(engine)
    store.write([message("health", fps=1.0), message("health", fps=2.0)], 7)
    store.write([message("meta", version="1")], 8)
    row = live_row(engine)
    assert (json.loads(row.health), row.health_ms, row.changed_ms) == ({"fps": 2.0}, 7, 8)
    assert (json.loads(row.meta), row.status_ms, row.window_ms) == ({"version": "1"}, None, None)


def test_a_removed_room_stays_away_over_a_reconnect(broker_port: int, sqlite_url: str) -> None:
    """With a real broker that keeps the meta of a room whose status was cleared: the next start shows no such room, and
    shows the other one with its meta."""
    engine, rooms = open_database(sqlite_url), [Room(broker_port, number) for number in (1, 2)]
    for room in rooms:
        room.publish("status", {"state": "ready", "session": 1}, retain=True)
        room.publish("meta", {"version": "1"}, retain=True)
    with collecting(broker_port, engine):
        wait_for(lambda: count(engine, "SELECT count(*) FROM live WHERE meta IS NOT NULL") == 2)
        rooms[0].publish("status", b"", retain=True)
        wait_for(lambda: count(engine, "SELECT count(*) FROM live") == 1)
    with collecting(broker_port, engine, name="fresh") as tally:
        wait_for(lambda: tally.snapshot().get("received") == 3)
        time.sleep(0.5)
    assert count(engine, "SELECT count(*) FROM live WHERE meta IS NOT NULL") == 1
    for room in rooms:
        room.close()
    engine.dispose()
