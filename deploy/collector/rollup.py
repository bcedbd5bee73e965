"""Makes the hours anew that got windows since the last time, so that a year of a room is read in milliseconds."""

import logging
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError

from agent.errors import first_line
from deploy.collector.tables import HOUR_MS, MEANS, hours, stale_hours, windows

log = logging.getLogger("fer.collector")

_ONE_AT_A_TIME: Final = 7_251_963
"""Lock of PostgreSQL: two collectors that remake one hour at once could leave the older result."""
_MOST: Final = 20_000
"""Marks taken in one transaction."""
_LENGTH: Final = windows.c.end_ms - windows.c.start_ms
_PUBLISHED: Final = windows.c.suppressed.is_(None)
_LOOKED: Final = or_(_PUBLISHED, *(windows.c.suppressed == why for why in ("k_min", "budget", "invalid")))
"""Whose `seats` were counted: the camera looked. With any other reason (paused, camera.black, …) they say nothing."""
AVERAGED: Final = ("seats", "n_eff", "coverage", "engagement", "ci_low", "ci_high", *MEANS)
SEEN: Final = {
    "seats": case((_LOOKED, windows.c.seats)),
    "n_eff": case((_PUBLISHED, windows.c.n_eff)),
    "coverage": case((_PUBLISHED, windows.c.coverage)),
}
"""A window's number, null where the contract withholds it: there it is 0 whatever was seen."""
SUMMED: Final = {
    "windows": func.count(),
    "results": func.count(windows.c.engagement),
    "first_ms": func.min(windows.c.start_ms),
    "last_ms": func.max(windows.c.end_ms),
    "covered_ms": func.sum(_LENGTH),
    "withheld_ms": func.sum(case((_PUBLISHED, 0), else_=_LENGTH)),
    "counted": func.count(SEEN["seats"]),
    "suppressed_low": func.min(windows.c.suppressed),
    "suppressed_high": func.max(windows.c.suppressed),
    **{name: func.avg(SEEN.get(name, windows.c[name])) for name in AVERAGED},
}
"""What is said of several windows together, by the names of `hours`."""


def refresh_hours(engine: Engine) -> int:
    """Remake every marked hour; return how many marks. One that the database cannot make is said and left out.

    Raises SQLAlchemyError; then nothing changed.
    """
    done = 0
    while True:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                locked = connection.execute(text("SELECT pg_try_advisory_xact_lock(:n)"), {"n": _ONE_AT_A_TIME})
                if not locked.scalar_one():
                    return done
            taken = connection.execute(select(stale_hours).order_by(stale_hours.c.id).limit(_MOST)).all()
            if not taken:
                return done
            _remake_each(connection, sorted({(row.agent_id, row.hour_ms) for row in taken}))
            ids = [row.id for row in taken]
            for start in range(0, len(ids), 5000):
                connection.execute(delete(stale_hours).where(stale_hours.c.id.in_(ids[start : start + 5000])))
            done += len(taken)
        if len(taken) < _MOST:
            return done


def _remake_each(connection: Connection, pairs: list[tuple[int, int]]) -> None:
    """Remake what can be: one hour with numbers too great for a mean must not stop those of every other room."""
    try:
        with connection.begin_nested():
            _remake(connection, pairs)
    except DataError as error:
        if len(pairs) == 1:
            reason = first_line(error.orig or error)
            log.error("event=hour.not_made agent_id=%d hour_ms=%d reason=%r", *pairs[0], reason)
            return
        half = len(pairs) // 2
        _remake_each(connection, pairs[:half])
        _remake_each(connection, pairs[half:])


def _remake(connection: Connection, pairs: list[tuple[int, int]]) -> None:
    agent, hour = cast(bindparam("agent"), BigInteger), cast(bindparam("hour"), BigInteger)
    source = select(agent, hour, *SUMMED.values()).where(windows.c.agent_id == agent, windows.c.end_ms >= hour)
    source = source.where(windows.c.end_ms < hour + literal_column(str(HOUR_MS)))
    names = ["agent_id", "hour_ms", *SUMMED]
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(hours).from_select(names, source)
    changes = {name: statement.excluded[name] for name in names[2:]}
    statement = statement.on_conflict_do_update(index_elements=["agent_id", "hour_ms"], set_=changes)
    connection.execute(statement, [{"agent": a, "hour": h} for a, h in pairs])
