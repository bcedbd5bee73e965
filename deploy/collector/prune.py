"""Deletes what is older than it may be kept: windows, events, hours, and what the page shows of them."""

from sqlalchemy import Connection, Engine, and_, delete, insert, or_, select, update

from deploy.collector.tables import HOUR_MS, events, hours, live, stale_hours, windows


def prune(engine: Engine, before_ms: int) -> int:
    """Delete windows and events that ended before `before_ms`, and what the page shows of them; how many windows.

    A device's clock may be wrong: where it was not synchronised, and for what it says is later, the time counts at
    which the window came.
    """
    old = or_(windows.c.received_ms < before_ms, and_(windows.c.clock_synced, windows.c.end_ms < before_ms))
    hour = windows.c.end_ms - windows.c.end_ms % HOUR_MS
    with engine.begin() as connection:
        # The hour of the limit is made again from what is left of it, as is one that a wrong clock named.
        touched = select(windows.c.agent_id, hour).where(old, windows.c.end_ms >= before_ms - HOUR_MS).distinct()
        connection.execute(insert(stale_hours).from_select(["agent_id", "hour_ms"], touched))
        done = connection.execute(delete(windows).where(old))
        connection.execute(delete(events).where(events.c.at_ms < before_ms))
        kept = select(windows.c.seq).where(
            windows.c.agent_id == hours.c.agent_id,
            windows.c.end_ms >= hours.c.hour_ms,
            windows.c.end_ms < hours.c.hour_ms + HOUR_MS,
        )
        connection.execute(delete(hours).where(hours.c.hour_ms < before_ms - HOUR_MS, ~kept.exists()))
        _prune_live(connection, before_ms)
        return done.rowcount


def _prune_live(connection: Connection, before_ms: int) -> None:
    """Take old results off the page, and the card of a room that nothing was heard of since."""
    stamps = (live.c.status_ms, live.c.window_ms, live.c.health_ms)
    connection.execute(delete(live).where(*(or_(stamp.is_(None), stamp < before_ms) for stamp in stamps)))
    gone = dict.fromkeys(("window", "window_stream", "window_seq", "window_ms"))
    connection.execute(update(live).where(live.c.window_ms < before_ms).values(gone))
