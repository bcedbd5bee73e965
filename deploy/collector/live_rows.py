"""Batch → the rows of `live`: what the page shows of now. A late delivery or an old will moves nothing, and what the
broker repeats of a room that was removed does not bring it back."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Delete, Table, and_, bindparam, delete, or_, select, text, update

from deploy.collector.messages import Forgotten, Message, Source, Status, Window
from deploy.collector.tables import agents, live

Upsert = tuple[Any, list[dict[str, Any]]]
_ONE_AT_A_TIME: Final = 7_251_964
"""Lock of PostgreSQL on all rows of `live`, until the transaction ends."""


def lock_live(connection: Connection) -> None:
    """Before rows of `live` are written: every collector of a group hears every status and health. Each writes the same
    rows, in several statements, so no order of the rows would keep two of them from waiting for each other."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ONE_AT_A_TIME})


def since_forgotten(messages: Sequence[Message]) -> tuple[list[Source], list[Message]]:
    """Return who is to be forgotten, and what was said after that, or by others."""
    last = {m.source: n for n, m in enumerate(messages) if isinstance(m.value, Forgotten)}
    order = sorted(last, key=lambda source: (source.site, source.room, source.agent))
    return order, [m for n, m in enumerate(messages) if n > last.get(m.source, -1)]


def forget(source: Source) -> Delete:
    """Return the statement that takes a room's card away."""
    mine = (agents.c.site == source.site, agents.c.room == source.room, agents.c.agent == source.agent)
    return delete(live).where(live.c.agent_id.in_(select(agents.c.id).where(*mine)))


def live_upserts(
    make_insert: Callable[[Table], Any],
    messages: Sequence[Message],
    agent_of: Callable[[Source], int],
    stream_of: Callable[[Source, str], int],
    now_ms: int,
) -> Iterator[Upsert]:
    """Yield statements with their rows, at most one row an agent in each."""
    if rows := _windows(messages, agent_of, stream_of, now_ms):
        statement = make_insert(live)
        new = statement.excluded
        older = or_(
            live.c.window_seq.is_(None), live.c.window_stream != new.window_stream, live.c.window_seq < new.window_seq
        )
        yield _upsert(statement, rows, older), rows
    for retained in (True, False):
        births, wills = _statuses([m for m in messages if m.retained is retained], agent_of, now_ms)
        for rows, will in ((births, False), (wills, True)):
            if rows:
                statement = make_insert(live)
                new, conditions = statement.excluded, []
                if will:
                    conditions.append(or_(live.c.session.is_(None), live.c.session <= new.session))
                if retained:  # a copy of what is known says nothing of now
                    other = (live.c.status.is_(None), live.c.status != new.status)
                    conditions.append(or_(*other, live.c.session.is_distinct_from(new.session)))
                yield _upsert(statement, rows, and_(*conditions) if conditions else None), rows
    # After the statuses: only who has one, or has just spoken, has a row.
    for kind in ("meta", "health"):
        if rows := _objects(kind, [m for m in messages if m.retained], agent_of, now_ms):
            known = update(live).where(live.c.agent_id == bindparam("of"))
            yield known, [{"of" if name == "agent_id" else name: v for name, v in row.items()} for row in rows]
        if rows := _objects(kind, [m for m in messages if not m.retained], agent_of, now_ms):
            yield _upsert(make_insert(live), rows, None), rows


def _upsert(statement: Any, rows: list[dict[str, Any]], where: Any) -> Any:
    changes = {name: statement.excluded[name] for name in rows[0] if name != "agent_id"}
    return statement.on_conflict_do_update(index_elements=["agent_id"], set_=changes, where=where)


def _windows(
    messages: Iterable[Message],
    agent_of: Callable[[Source], int],
    stream_of: Callable[[Source, str], int],
    now_ms: int,
) -> list[dict[str, Any]]:
    newest: dict[int, Message] = {}
    for m in messages:
        if m.kind == "window" and not m.value.replay:
            agent = agent_of(m.source)
            kept = newest.get(agent)
            if kept is None or kept.value.epoch != m.value.epoch or kept.value.seq < m.value.seq:
                newest[agent] = m
    return [
        {"agent_id": agent, "changed_ms": now_ms, "window_ms": now_ms}
        | {"window_stream": stream_of(m.source, m.value.epoch), "window_seq": m.value.seq}
        | {"window": _dump(m.value)}
        for agent, m in newest.items()
    ]


def _dump(window: Window) -> str:
    skip = {"agent", "site", "room", "boot_id", "mono_start_ns"}
    return window.model_dump_json(by_alias=True, exclude_none=True, exclude=skip)


def _statuses(
    messages: Iterable[Message], agent_of: Callable[[Source], int], now_ms: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    last: dict[int, Status] = {}
    for m in messages:
        if isinstance(m.value, Status):
            agent = agent_of(m.source)
            before = last.get(agent)
            if before is None or m.value.state != "lost" or (m.value.session or 0) >= (before.session or 0):
                last[agent] = m.value
    rows: dict[bool, dict[int, dict[str, Any]]] = {True: {}, False: {}}
    for agent, status in last.items():
        row = {"agent_id": agent, "changed_ms": now_ms, "status_ms": now_ms, "session": status.session}
        conditional = status.state == "lost" and status.session is not None
        rows[conditional][agent] = row | {"status": json.dumps({"state": status.state, "reason": status.reason})}
    return list(rows[False].values()), list(rows[True].values())


def _objects(
    kind: str, messages: Iterable[Message], agent_of: Callable[[Source], int], now_ms: int
) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for m in messages:
        if m.kind == kind:
            row = {
                "agent_id": agent_of(m.source),
                "changed_ms": now_ms,
                kind: m.value.model_dump_json(exclude_none=True),
            }
            rows[row["agent_id"]] = row | ({"health_ms": now_ms} if kind == "health" else {})
    return list(rows.values())
