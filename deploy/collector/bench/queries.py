"""How long each query of the page takes on a long history: many rooms for a week, a few for a year."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import click
from sqlalchemy import Connection, Engine, func, insert, select, text

from agent.emotions import LABELS
from agent.errors import UsageError
from deploy.collector.bench.lessons import topic_of
from deploy.collector.bench.report import at_most, machine, percentile
from deploy.collector.database import open_database
from deploy.collector.history import History, Span
from deploy.collector.hub import Hub
from deploy.collector.messages import Source
from deploy.collector.rollup import SUMMED
from deploy.collector.tables import (
    HOUR_MS,
    agents,
    hours,
    live,
    metadata,
    provenance,
    streams,
    windows,
    windows_by_time,
)

_MINUTE = 60_000
_LONG_ROOMS = 4
"""Rooms with a share of a tenth each of all windows: with ten million, two years of minutes."""
_BAR_MS = 200
_RANGES = {"1 h": 1, "8 h": 8, "day": 24, "week": 24 * 7, "month": 24 * 31, "year": 24 * 366}
_REPEATS = 30


def measure(db: str, count: int, rooms: int) -> None:
    """Fill a database with `count` windows and time every query of the page; print p95 of each against the bar."""
    machine()
    engine = open_database(db)
    with engine.connect() as connection:
        if connection.execute(select(agents.c.id).limit(1)).first() is not None:
            raise UsageError(
                "--db: expected an empty database, got one with rooms in it: this deletes what it filled in"
            )
    try:
        start = time.monotonic()
        now = int(time.time() * 1000) // _MINUTE * _MINUTE
        fill(engine, count, rooms, now)
        with engine.connect() as connection:
            total = connection.execute(select(func.count()).select_from(windows)).scalar_one()
        kind = engine.dialect.name
        size = f", {Path(str(engine.url.database)).stat().st_size / 1e9:.2f} GB" if kind == "sqlite" else ""
        click.echo(f"{kind}: {total:,} windows of {rooms} rooms filled in {time.monotonic() - start:.0f} s{size}")
        url = engine.url.render_as_string(hide_password=False)
        worst = _time_all(open_database(url, read_only=True), rooms, now)
        at_most(f"slowest query of the page on {kind}, p95", worst, _BAR_MS, "ms")
    finally:
        metadata.drop_all(engine)


def _time_all(engine: Engine, rooms: int, now: int) -> float:
    history, dice = History(engine), random.Random(7)  # noqa: S311
    worst = 0.0

    def timed(name: str, call: Callable[[], object], repeats: int = _REPEATS) -> None:
        nonlocal worst
        took, busy = [], time.process_time()
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            took.append(1000 * (time.perf_counter() - start))
        busy = 1000 * (time.process_time() - busy) / repeats
        worst = max(worst, percentile(took, 0.95))
        p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
        click.echo(f"  {name:<28} p50 {p50:7.1f} ms   p95 {p95:7.1f} ms   our CPU {busy:6.1f} ms")

    timed("all rooms, page opened", lambda: Hub(engine).newest(), 10)
    timed("name of a room", lambda: history.agent_id(Source(*topic_of(dice.randrange(rooms)).split("/")[2:5])))
    for word, length in _RANGES.items():
        span = Span(now - length * HOUR_MS, now + 1)
        timed(f"{word} of a room", lambda span=span: history.series(dice.randrange(_LONG_ROOMS, rooms) + 1, span))
        timed(f"{word} of a long room", lambda span=span: history.series(dice.randrange(_LONG_ROOMS) + 1, span))
    week = Span(now - 7 * 24 * HOUR_MS, now + 1)
    timed("what happened", lambda: history.happenings(dice.randrange(rooms) + 1, week))
    year = Span(now - _RANGES["year"] * HOUR_MS, now + 1)
    for word, span in (("week", week), ("year", year)):
        timed(f"what made a {word}", lambda span=span: history.made_by(dice.randrange(_LONG_ROOMS) + 1, span))
    timed("trend line", lambda: history.recent([dice.randrange(rooms) + 1]))
    return worst


def fill(engine: Engine, count: int, rooms: int, now: int) -> None:
    """Write `count` windows, one a minute and room, that end at `now`; the first rooms get a tenth each."""
    long = min(_LONG_ROOMS, rooms - 1)
    each_long = count // 10
    each = (count - long * each_long) // (rooms - long)
    lengths = [each_long if room < long else each for room in range(rooms)]
    with engine.begin() as connection:
        windows_by_time.drop(connection)
        connection.execute(insert(provenance), {"id": 1, "hash": "x", "model_id": "filled", "boot_id": "filled"})
        names = [dict(zip(("site", "room", "agent"), topic_of(r).split("/")[2:5], strict=True)) for r in range(rooms)]
        connection.execute(insert(agents), [{"id": r + 1, **names[r]} for r in range(rooms)])
        numbered = [{"id": r + 1, "agent_id": r + 1, "epoch": "1", "upto_seq": lengths[r]} for r in range(rooms)]
        connection.execute(insert(streams), numbered)
        connection.execute(insert(live), [{"agent_id": r + 1, "changed_ms": now} for r in range(rooms)])
        for room, length in enumerate(lengths):
            _fill_room(connection, room + 1, length, now)
        windows_by_time.create(connection)
        _fill_hours(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def _fill_room(connection: Connection, room: int, length: int, now: int) -> None:
    """Let the database itself make the rows: ten million in Python would take many minutes."""
    value = f"(50 + ((s * 7919 + {room} * 31) % 1000) / 25.0 - 20)"
    formulas = {
        "stream_id": room,
        "seq": "s",
        "agent_id": room,
        "provenance_id": 1,
        "start_ms": f"{now} - ({length} - s + 1) * {_MINUTE}",
        "end_ms": f"{now} - ({length} - s) * {_MINUTE}",
        "received_ms": f"{now} - ({length} - s) * {_MINUTE} + 300",
        "mono_start_ns": "s * 60000000000",
        "seats": "18 + s % 9",
        "n_eff": "17.0 + s % 9",
        "coverage": "0.7 + (s % 30) / 100.0",
        "frames": 60,
        "engagement": value,
        "ci_low": f"{value} - 5",
        "ci_high": f"{value} + 5",
        "valence": 0.1,
        "arousal": 0.1,
        "expressivity": 30.0,
        **{f"share_{label}": 0.125 for label in LABELS},
    }
    yes, no = ("true", "false") if connection.dialect.name == "postgresql" else ("1", "0")
    formulas |= {"clock_synced": yes, "replay": no, "partial": no}
    count = f"SELECT 1 AS s UNION ALL SELECT s + 1 FROM n WHERE s < {length}"  # noqa: S608
    numbers = f"WITH RECURSIVE n AS ({count})"
    if connection.dialect.name == "postgresql":
        count = f"SELECT s::bigint AS s FROM generate_series(1, {length}) s"  # noqa: S608
        numbers = f"WITH n AS ({count})"
    columns, values = ", ".join(formulas), ", ".join(map(str, formulas.values()))
    connection.execute(text(f"INSERT INTO windows ({columns}) {numbers} SELECT {values} FROM n"))  # noqa: S608


def _fill_hours(connection: Connection) -> None:
    w = windows.c
    hour = w.end_ms - w.end_ms % HOUR_MS
    query = select(w.agent_id, hour, *SUMMED.values()).group_by(w.agent_id, hour)
    connection.execute(insert(hours).from_select(["agent_id", "hour_ms", *SUMMED], query))
