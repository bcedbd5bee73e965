"""What the page is told of the past: how much of a bucket is there, and no withheld number as a zero."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from agent.errors import ConfigError
from deploy.collector.bench.lessons import suppressed_window, topic_of, window_of
from deploy.collector.database import open_database
from deploy.collector.history import History, Span, _nice_step
from deploy.collector.messages import Message, Source, parse_message
from deploy.collector.rollup import refresh_hours
from deploy.collector.store import Store
from deploy.collector.tables import ADDED, HOUR_MS
from tests.deploy.conftest import MINUTE, NOW_MS, count

DAY = 24 * HOUR_MS
SHOWN = Span(NOW_MS, NOW_MS + DAY)


def full(at: int) -> Message:
    """A window with a result that ends `at` minutes after NOW_MS."""
    body = window_of(1, at + 10_000, NOW_MS + at * MINUTE, seats=20, n_eff=18.0, coverage=0.9)
    return parse_message(topic_of(1), body)


def withheld(at: int, reason: str, seats: int) -> Message:
    """As the contract has it: coverage and n_eff are 0, whatever was seen; so are seats without a camera."""
    body = json.loads(suppressed_window(1, at + 10_000, NOW_MS + at * MINUTE, reason, coverage=0.0))
    return parse_message(topic_of(1), json.dumps(body | {"seats": seats, "n_eff": 0.0}).encode())


def read(engine: Engine, kind: str) -> dict[str, Any]:
    """A day of room 1 as raw windows, in buckets, or from the hours."""
    refresh_hours(engine)
    history = History(engine)
    return {"raw": history._raw, "buckets": history._buckets, "hours": history._from_hours}[kind](1, SHOWN)


@pytest.mark.parametrize("kind", ["buckets", "hours"])
def test_a_bucket_says_how_much_of_it_is_there(engine: Engine, kind: str) -> None:
    """Of each hour minutes 0 to 5 have a result, 5 to 10 have none for two reasons, the others never came: all of the
    day together is that much, wherever the buckets begin."""
    for hour in range(24):
        first = 60 * hour + 1
        reasons = ["k_min", "camera.black", "k_min", "camera.black", "k_min"]
        batch = [full(first + n) for n in range(5)]
        Store(engine).write([*batch, *(withheld(first + 5 + n, why, 0) for n, why in enumerate(reasons))], 1)
    found = read(engine, kind)
    assert sum(found["covered"]) == 240 * MINUTE
    assert sum(found["withheld"]) == 120 * MINUTE
    assert found["start"][0] == NOW_MS
    assert found["end"][-1] == NOW_MS + 23 * HOUR_MS + 10 * MINUTE
    if kind == "hours":
        assert found["suppressed"] == [["camera.black", "k_min"]] * 24
    assert {why for bucket in found["suppressed"] for why in bucket} == {"camera.black", "k_min"}


@pytest.mark.parametrize("kind", ["raw", "buckets", "hours"])
def test_withheld_numbers_have_no_weight(engine: Engine, kind: str) -> None:
    """Coverage and n_eff are those of windows with a result; people those of windows whose camera looked."""
    store = Store(engine)
    store.write([full(n) for n in range(1, 6)] + [withheld(n, "camera.black", 0) for n in range(6, 30)], 1)
    store.write([withheld(n, "k_min", 2) for n in range(30, 35)] + [withheld(n, "paused", 0) for n in range(60, 90)], 1)
    found = read(engine, kind)
    said = {name: {v for v in found[name] if v is not None} for name in ("coverage", "n_eff", "seats")}
    assert (said["coverage"], said["n_eff"]) == ({0.9}, {18.0})
    assert said["seats"] == ({11.0} if kind == "hours" else {20, 2})
    for results, coverage in zip(found["results"], found["coverage"], strict=True):
        assert (results == 0) == (coverage is None)


def test_hours_are_weighed_by_what_was_counted(engine: Engine) -> None:
    """Two hours in one bucket: people weigh by the windows that looked, coverage by those with a result."""
    first = NOW_MS // (12 * HOUR_MS) * 12 * HOUR_MS
    earlier = (first - NOW_MS) // MINUTE
    batch = [full(earlier + n) for n in range(1, 59)] + [withheld(earlier + 60, "k_min", 2)]
    batch += [withheld(earlier + n, "camera.black", 0) for n in range(61, 119)]
    Store(engine).write(batch, 1)
    refresh_hours(engine)
    found = History(engine).series(1, Span(NOW_MS - 300 * DAY, NOW_MS + DAY))
    assert (found["step"], found["windows"], found["results"]) == (12 * HOUR_MS, [117], [58])
    assert found["seats"] == [pytest.approx((58 * 20 + 2) / 59, abs=1e-4)]
    assert found["coverage"] == [0.9]


@pytest.mark.parametrize("kind", ["raw", "buckets", "hours"])
def test_a_range_without_windows_has_its_columns_empty(engine: Engine, kind: str) -> None:
    """The page finds the same keys whether there is a window or none, and every list is as long as the others."""
    nothing = read(engine, kind)
    Store(engine).write([full(1), full(90), withheld(91, "k_min", 2)], 1)
    some = read(engine, kind)
    assert nothing == {name: column if name == "step" else [] for name, column in some.items()}
    assert {len(column) for name, column in some.items() if name != "step"} == {3 if kind == "raw" else 2}


def test_few_points_whatever_the_range(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows as long as they are few, buckets of them while they can be read, and of many or of months the hours,
    of which there are none here before they are made."""
    monkeypatch.setattr("deploy.collector.history.MOST_POINTS", 8)
    engine, history = open_database(sqlite_url), History(open_database(sqlite_url, read_only=True))

    def told(span_hours: int) -> tuple[int, list[int]]:
        found = history.series(1, Span(NOW_MS, NOW_MS + span_hours * HOUR_MS))
        return found["step"], found["windows"]

    Store(engine).write([full(n) for n in range(1, 9)], 1)
    assert told(24) == told(62 * 24) == (0, [1] * 8)
    assert told(62 * 24 + 1) == (187 * HOUR_MS, [])
    Store(engine).write([full(9)], 1)
    assert told(16) == (2 * HOUR_MS, [9])
    Store(engine).write([full(n) for n in range(10, 33)], 1)
    assert told(200) == (48 * HOUR_MS, [32])
    Store(engine).write([full(33)], 1)
    assert told(199) == (48 * HOUR_MS, [33])
    assert told(200) == (48 * HOUR_MS, [])
    history._engine.dispose()
    engine.dispose()


def test_a_question_needs_one_connection_at_a_time(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw windows, buckets or hours: pages that open at once, each with a connection and in want of a second one,
    would wait for each other."""
    monkeypatch.setattr("deploy.collector.history.MOST_POINTS", 8)
    writer, engine = open_database(sqlite_url), open_database(sqlite_url, read_only=True)
    history, taken = History(engine), []
    event.listen(engine, "before_cursor_execute", lambda *_: taken.append(engine.pool.checkedout()))
    for batch in ([full(n) for n in range(1, 9)], [full(9)], [full(n) for n in range(10, 34)]):
        Store(writer).write(batch, 1)
        history.series(1, Span(NOW_MS, NOW_MS + 200 * HOUR_MS))
    history.happenings(1, SHOWN)
    history.made_by(1, SHOWN)
    history.recent([1])
    assert set(taken) == {1}
    engine.dispose()
    writer.dispose()


def test_a_bucket_is_as_long_as_a_step_of_a_clock() -> None:
    """The shortest that suffices of 1 minute to a week; beyond that, whole hours."""
    minutes = [1, 2, 5, 10, 20, 30, *(60 * h for h in (1, 2, 4, 6, 12, 24, 48, 96, 168, 169))]
    steps = [minute * MINUTE for minute in minutes]
    assert [_nice_step(step) for step in steps] == steps
    assert [_nice_step(step + 1) for step in steps[:-1]] == steps[1:]


def test_what_made_the_numbers_is_of_the_range(engine: Engine) -> None:
    """In a range with two models both are told, the newest first; a range of one tells that one, though a window of a
    wrong clock names another; a withheld window, which has no weights, adds nothing. A long
    range tells those of the last window of each hour."""
    names = {1: "A", 2: "A", 3: "B", 9**6: "X"}
    models = {at: {"id": name, "sha256": None, "backend": "b"} for at, name in names.items()}
    made = [window_of(1, at, NOW_MS + at * MINUTE, model=model) for at, model in models.items()]
    none = suppressed_window(1, 4, NOW_MS + 4 * MINUTE, model=models[3])
    Store(engine).write([parse_message(topic_of(1), body) for body in [*made, none]], 1)

    def told(first: int, last: int) -> list[tuple[str, int]]:
        found = History(engine).made_by(1, Span(NOW_MS + first * MINUTE, NOW_MS + last * MINUTE))
        return [(made["model_id"], (made["until"] - NOW_MS) // MINUTE) for made in found]

    assert told(0, 60) == [("B", 3), ("A", 2)]
    assert told(0, 3) == [("A", 2)]
    assert told(4, 60) == [("B", 4)]
    assert told(100, 200) == []
    refresh_hours(engine)
    assert told(-300 * 24 * 60, 24 * 60) == [("B", 4)]
    assert told(-300 * 24 * 60, 10**6) == [("X", 9**6), ("B", 4)]
    assert told(4, 10**6) == [("X", 9**6), ("B", 4)]
    assert told(5, 10**6) == [("X", 9**6)]
    assert told(-300 * 24 * 60, 4) == []


def test_a_range_has_its_start_and_not_its_end(engine: Engine) -> None:
    """Ranges that follow each other tell each window, event and loss once; of very many the newest are told."""
    store, times = Store(engine), (99, 100, 199, 200)
    for at in times:
        event_of = {"kind": "camera", "reason": "camera.black", "at_ms": at}
        bodies = [(topic_of(1), window_of(1, at, at, length_ms=1))]
        bodies += [(topic_of(1, "event"), json.dumps(event_of).encode())]
        store.write([parse_message(topic, body) for topic, body in bodies], at)
        store.write_lost(1, at + 1000, at + 1000, "unanswered", at)
    history = History(engine)
    for span, inside in ((Span(100, 200), [100, 199]), (Span(200, 300), [200]), (Span(0, 100), [99])):
        told = history.happenings(1, span)
        assert [happened["at"] for happened in told["events"]] == inside[::-1]
        assert [hole["at"] for hole in told["lost"]] == inside[::-1]
        assert history._raw(1, span)["t"] == inside
    newest = history.happenings(1, Span(0, 300), most=2)
    assert [[told["at"] for told in newest[kind]] for kind in ("events", "lost")] == [[200, 199]] * 2


def test_each_room_has_its_own_newest_windows(engine: Engine) -> None:
    """A room with few and old windows beside one with many: of each at most so many, in the order they were made, also
    where a clock was set back; of one without any nothing."""
    ends = {1: [NOW_MS + n * MINUTE for n in range(1, 31)], 2: [30_000, 10_000, 20_000]}
    bodies = [(room, window_of(room, seq, end, length_ms=1)) for room in ends for seq, end in enumerate(ends[room], 1)]
    Store(engine).write([parse_message(topic_of(room), body) for room, body in bodies], 1)
    values = {room: [json.loads(body)["engagement"]["value"] for of, body in bodies if of == room] for room in ends}
    made = {room: list(zip(ends[room], values[room], strict=True)) for room in ends}
    history = History(engine)
    first, second = (history.agent_id(Source("school-0", f"room-{room + 1}", f"fer-{room}")) for room in ends)
    assert history.recent([first, second, 99], most=5) == {first: made[1][-5:], second: made[2], 99: []}
    assert history.recent([second], most=2)[second] == [made[2][0], made[2][2]]


def as_version_1(engine: Engine) -> None:
    """Take from the schema what version 2 added."""
    with engine.begin() as connection:
        for name in ADDED:
            connection.execute(text(f"ALTER TABLE hours DROP COLUMN {name}"))
        connection.execute(text("UPDATE schema_version SET version = 1"))


def test_a_database_of_version_1_is_brought_up(engine: Engine, database_url: str) -> None:
    """Its hours stay readable at once, with nothing hatched that is not known, and are made again."""
    Store(engine).write([full(n) for n in range(1, 31)], 1)
    refresh_hours(engine)
    as_version_1(engine)
    engine.dispose()
    with pytest.raises(ConfigError, match=r"expected schema version 2, got 1; start `fer-collector run`"):
        open_database(database_url, read_only=True)
    for _ in range(2):
        open_database(database_url).dispose()
    history = History(open_database(database_url, read_only=True))
    assert history._from_hours(1, SHOWN)["covered"] == [HOUR_MS]
    assert count(engine, "SELECT count(*) FROM stale_hours") == 1
    refresh_hours(engine)
    assert history._from_hours(1, SHOWN)["covered"] == [30 * MINUTE]
    history._engine.dispose()
