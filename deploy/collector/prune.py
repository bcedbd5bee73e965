"""Deletes what is older than it may be kept: windows, events, hours, and what the page shows of them.

Agent by agent, by the index, in short transactions: while one writes into SQLite no collector can. What is to go is
looked for by one that only reads.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, bindparam, delete, insert, not_, or_, select, update

from deploy.collector.database import READING
from deploy.collector.live_rows import lock_live
from deploy.collector.tables import HOUR_MS, agents, events, hours, live, stale_hours, windows

_AT_ONCE: Final = 5000
"""Windows deleted in one transaction."""


def prune(engine: Engine, before_ms: int) -> int:
    """Delete windows and events that ended before `before_ms`, and what the page shows of them; how many windows.

    A device's clock may be wrong: where it was not synchronised, and for what it says is yet to come, the time counts
    at which the window came. Else it is believed: a collector's own clock may not be set yet when a window comes.
    """
    with engine.connect().execution_options(**READING) as connection:
        known = connection.scalars(select(agents.c.id).order_by(agents.c.id)).all()
    done = sum(_prune_agent(engine, agent, before_ms) for agent in known)
    with engine.begin() as connection:
        _prune_live(connection, before_ms)
    return done


def _prune_agent(engine: Engine, agent: int, before_ms: int) -> int:
    w, done, now_ms = windows.c, 0, int(time.time() * 1000)
    unproved = w.received_ms < before_ms
    # Each reads its part of the index alone; the second all that is kept, for what a clock that was ahead has named.
    past = and_(w.end_ms < before_ms, or_(w.clock_synced, unproved))
    ahead = and_(w.end_ms >= before_ms, unproved, or_(not_(w.clock_synced), w.end_ms > now_ms))
    for old in (past, ahead):
        query = select(w.stream_id, w.seq, w.end_ms).where(w.agent_id == agent, old).limit(_AT_ONCE)
        while batch := _read(engine, query):
            _delete(engine, agent, batch, before_ms)
            done += len(batch)
    kept = select(w.seq).where(w.agent_id == agent, w.end_ms >= hours.c.hour_ms, w.end_ms < hours.c.hour_ms + HOUR_MS)
    empty = and_(hours.c.agent_id == agent, hours.c.hour_ms < before_ms - HOUR_MS, ~kept.exists())
    happened = and_(events.c.agent_id == agent, events.c.at_ms < before_ms)
    for table, gone in ((hours, empty), (events, happened)):
        if _read(engine, select(table.c.agent_id).where(gone).limit(1)):
            with engine.begin() as connection:
                connection.execute(delete(table).where(gone))
    return done


def _read(engine: Engine, query: Any) -> Sequence[Any]:
    with engine.connect().execution_options(**READING) as connection:
        return connection.execute(query).all()


def _delete(engine: Engine, agent: int, batch: Sequence[Any], before_ms: int) -> None:
    one = delete(windows).where(windows.c.stream_id == bindparam("stream"), windows.c.seq == bindparam("number"))
    # The hour of the limit is made again from what is left of it, as is one that a wrong clock named.
    touched = sorted({row.end_ms - row.end_ms % HOUR_MS for row in batch if row.end_ms >= before_ms - HOUR_MS})
    with engine.begin() as connection:
        if touched:
            connection.execute(insert(stale_hours), [{"agent_id": agent, "hour_ms": hour} for hour in touched])
        connection.execute(one, [{"stream": row.stream_id, "number": row.seq} for row in batch])


def _prune_live(connection: Connection, before_ms: int) -> None:
    """Take old results off the page, and the card of a room that nothing was heard of since."""
    lock_live(connection)
    stamps = (live.c.status_ms, live.c.window_ms, live.c.health_ms)
    connection.execute(delete(live).where(*(or_(stamp.is_(None), stamp < before_ms) for stamp in stamps)))
    gone = dict.fromkeys(("window", "window_stream", "window_seq", "window_ms"))
    connection.execute(update(live).where(live.c.window_ms < before_ms).values(gone))
