"""Keeps the newest of every room in memory, by asking the database twice a second, and tells every open page; also
when broker or database are away.

It reads, so a page may run in another process than the ingest, and sees what all collectors of a group store.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from agent.delivery.wallclock import now_ms
from agent.device.clock import DeviceClock
from deploy.collector.history import History
from deploy.collector.tables import agents, live
from deploy.collector.troubles import Collecting, Troubles

log = logging.getLogger("fer.collector")

POLL_S: Final = 0.5
_RETRY_S: Final = 2.0
"""Pause before a database that failed is asked again."""
_SLOW_S: Final = 10.0
"""A database that has not answered for so long is away, though the network does not say so."""
_MARKS: Final = (
    *(live.c.agent_id, live.c.changed_ms, live.c.status_ms, live.c.window_ms, live.c.health_ms),
    *(live.c.window_stream, live.c.window_seq),
)
"""What shows that a row is another one. Compared, never ordered: the clocks of collectors disagree, and are set."""
_AT_ONCE: Final = 500
"""Rows named in one query."""
_MOST_PAGES: Final = 400
_QUEUE: Final = 20
"""Updates kept for a slow page before it is told to load all anew."""
_TREND: Final = 40
"""Windows in a room's small trend line."""


class Hub:
    """`run` polls; `pages` are the open event streams. One event loop; database work goes to its thread pool."""

    def __init__(self, engine: Engine, ingest: Collecting | None = None) -> None:
        self._engine, self._ingest = engine, ingest
        self._history = History(engine)
        self._rooms: dict[int, dict[str, Any]] = {}
        self._trends: dict[int, list[tuple[int, float | None]]] = {}
        self._marks: dict[int, tuple[Any, ...]] = {}
        self._pages: set[asyncio.Queue[str]] = set()
        self._asked: float | None = None
        """When the poll under way asked its last question."""
        self._failed = False
        self._clock = DeviceClock()
        self.troubles = Troubles()

    @property
    def rooms(self) -> list[dict[str, Any]]:
        """Every agent's newest state."""
        return list(self._rooms.values())

    async def run(self) -> None:
        """Poll until cancelled; a database that is away is said once and tried again."""
        await asyncio.gather(self._follow_rooms(), self._follow_links())

    async def _follow_rooms(self) -> None:
        while True:
            known, self._asked = set(self._rooms), time.monotonic()
            try:
                changed = await run_in_threadpool(self._poll)
            except Exception as error:  # a row that cannot be read, too: a page that stands still must not say "Live"
                if not self._failed:
                    away = isinstance(error, SQLAlchemyError)
                    log.error("event=page.database_%s reason=%r", "away" if away else "unreadable", str(error)[:200])
                self._failed, self._asked = True, None
                await asyncio.sleep(_RETRY_S)
                continue
            # A poll that failed half-way has moved rooms of which no page was told.
            behind, self._failed, self._asked = self._failed, False, None
            gone = not known <= self._rooms.keys()
            if changed or gone or behind:
                self._tell(_rooms_event(changed), reload=gone or behind)
            await asyncio.sleep(POLL_S)

    async def _follow_links(self) -> None:
        while True:
            slow = self._asked is not None and time.monotonic() - self._asked > _SLOW_S
            stuck = self._ingest is not None and not self._ingest.storing
            news = self.troubles.note("database", away=self._failed or slow or stuck)
            if self._ingest is not None:
                news |= self.troubles.note("broker", away=not self._ingest.connected)
            if news:
                self._tell(self.troubles.event(), reload=False)
            if self._clock.step():  # a page judges what is old by how far its clock was from ours when it loaded
                self._tell("", reload=True)
            await asyncio.sleep(POLL_S / 2)

    def _tell(self, text: str, *, reload: bool) -> None:
        for page in self._pages:
            if reload or page.full():
                while not page.empty():
                    page.get_nowait()
                page.put_nowait("event: reload\ndata: {}\n\n")
            else:
                page.put_nowait(text)

    async def stream(self) -> AsyncIterator[str]:
        """Yield server-sent events for one page, a sign of life every 15 s."""
        if len(self._pages) >= _MOST_PAGES:
            yield "retry: 30000\n\n"
            return
        page: asyncio.Queue[str] = asyncio.Queue(_QUEUE)
        self._pages.add(page)
        try:
            yield f"retry: 2000\nevent: hello\ndata: {now_ms()}\n\n"
            yield self.troubles.event()
            while True:
                try:
                    yield await asyncio.wait_for(page.get(), timeout=15)
                except TimeoutError:
                    yield "event: tick\ndata: {}\n\n"  # a comment no script of the page would hear
        finally:
            self._pages.discard(page)

    def newest(self) -> tuple[dict[int, tuple[Any, ...]], Sequence[Any]]:
        """Read (the marks of all rows, the rows that changed since the last poll that went well)."""
        query = select(live, agents.c.site, agents.c.room, agents.c.agent).join_from(live, agents)
        with self._engine.connect() as connection:
            marks = {row[0]: tuple(row) for row in connection.execute(select(*_MARKS))}
            wanted = sorted(agent for agent, mark in marks.items() if self._marks.get(agent) != mark)
            found: list[Any] = []
            for start in range(0, len(wanted), _AT_ONCE):
                self._ask()
                some = live.c.agent_id.in_(wanted[start : start + _AT_ONCE])
                found += connection.execute(query.where(some)).all()
        return marks, found

    def _poll(self) -> list[dict[str, Any]]:
        """Return the rooms that changed; forget those whose rows are gone."""
        marks, rows = self.newest()
        changed = []
        for start in range(0, len(rows), _AT_ONCE):
            changed += self._take(rows[start : start + _AT_ONCE])
        for agent in self._rooms.keys() - marks.keys():
            del self._rooms[agent]
            self._trends.pop(agent, None)
        self._marks = marks  # last: rows that could not be made into rooms are read again
        return changed

    def _take(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """Keep these rows as rooms; return those that are other than they were."""
        rooms = {row.agent_id: _room(row) for row in rows}
        rooms = {
            agent: room
            for agent, room in rooms.items()
            if (before := self._rooms.get(agent)) is None or any(before[key] != value for key, value in room.items())
        }
        fresh = {agent for agent, room in rooms.items() if room["window"] and agent not in self._trends}
        if fresh:
            self._ask()
            self._trends |= self._history.recent(fresh, _TREND)
        for agent, room in rooms.items():
            room["trend"] = self._trends[agent] if agent in fresh else self._trend(agent, room["window"])
            self._rooms[agent] = room
        return list(rooms.values())

    def _ask(self) -> None:
        """Note that a question begins, and so that the one before was answered: many quick ones are no slow one."""
        if self._asked is not None:
            self._asked = time.monotonic()

    def _trend(self, agent: int, window: dict[str, Any] | None) -> list[tuple[int, float | None]]:
        if window is None:  # not yet, or too old to be kept; so is all before it
            self._trends.pop(agent, None)
            return []
        trend = self._trends[agent]
        if not trend or trend[-1][0] != window["end_ms"]:
            value = window["engagement"]["value"] if "engagement" in window else None
            trend = [*trend[1 - _TREND :], (window["end_ms"], value)]
        self._trends[agent] = trend
        return trend


def _rooms_event(changed: list[dict[str, Any]]) -> str:
    return f"event: rooms\ndata: {json.dumps(changed, separators=(',', ':'))}\n\n"


def _room(row: Any) -> dict[str, Any]:
    def load(text: str | None) -> Any:
        return json.loads(text) if text else None

    return {
        "site": row.site,
        "room": row.room,
        "agent": row.agent,
        "status": load(row.status),
        "status_ms": row.status_ms,
        "window": load(row.window),
        "window_ms": row.window_ms,
        "meta": load(row.meta),
        "health": load(row.health),
        "health_ms": row.health_ms,
    }
