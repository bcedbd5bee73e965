"""Every query that the page makes of the past. Few points whatever the range: raw windows, buckets, or hours."""

import json
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, case, func, literal, select

from deploy.collector.losses import Losses
from deploy.collector.messages import Source
from deploy.collector.rollup import AVERAGED, SEEN, SUMMED
from deploy.collector.tables import HOUR_MS, agents, events, gaps, hours, provenance, streams, windows

MOST_POINTS: Final = 800
"""About one point a pixel of a phone, half of one of a desktop."""
_LONG_MS: Final = 62 * 24 * HOUR_MS
"""Of a longer span the hours are read, not the windows."""
_PLACED: Final = ("start", "end", "covered", "withheld")
"""Of a bucket: where its windows begin and end, how long they are together, and those without a result (all ms)."""
_REASONS: Final = ("suppressed_low", "suppressed_high")
"""Columns of the first and the last reason by name."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, UTC milliseconds, the end excluded."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end < 2**53:
            raise ValueError(f"expected 0 <= from < to in milliseconds, got {self.start} and {self.end}")


class History:
    """Reads the database; safe for several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection whose queries go by the index.

        PostgreSQL takes room and time for independent, expects too many windows in a long room's week, and reads the
        whole table: 1.9 s with 10 million windows.
        """
        with self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            yield connection

    def agent_id(self, source: Source) -> int | None:
        """Return the row number of an agent, None if nobody by that name has been heard."""
        query = select(agents.c.id).where(
            agents.c.site == source.site, agents.c.room == source.room, agents.c.agent == source.agent
        )
        with self._reading() as connection:
            found: int | None = connection.execute(query).scalar()
            return found

    def series(self, agent: int, span: Span) -> dict[str, Any]:
        """Return columns of one room over time: t (ms), windows, results, suppressed, and the means.

        With `step` 0 a row is a window, t its end and `suppressed` its reason; they were made in the order of `stream`
        and `seq`, which is another one than that of their times where a clock was set back. Else a row is a bucket from
        t on, with `_PLACED`, and `suppressed` is a list of at most two of its reasons. Numbers that the contract
        withholds are null, and have no weight in a mean.
        """
        if span.end - span.start > _LONG_MS:
            return self._from_hours(agent, span)
        some = select(literal(1)).select_from(windows).where(*_in(agent, span)).limit(4 * MOST_POINTS + 1).subquery()
        with self._reading() as connection:
            count = connection.execute(select(func.count()).select_from(some)).scalar_one()
        # No connection is held here: threads that each hold one and want another would wait for each other.
        if count <= MOST_POINTS:
            return self._raw(agent, span)
        if count > 4 * MOST_POINTS and (span.end - span.start) // HOUR_MS >= 200:
            return self._from_hours(agent, span)
        return self._buckets(agent, span)

    def _raw(self, agent: int, span: Span) -> dict[str, Any]:
        w = windows.c
        columns = [
            w.end_ms,
            w.start_ms,
            w.suppressed,
            w.stream_id,
            w.seq,
            *(SEEN.get(name, w[name]) for name in AVERAGED),
        ]
        with self._reading() as connection:
            rows = connection.execute(select(*columns).where(*_in(agent, span)).order_by(w.end_ms, w.seq)).all()
        table = _columns(rows, ["t", "start", "suppressed", "stream", "seq", *AVERAGED])
        ones = [1] * len(rows)
        return {"step": 0, **table, "windows": ones, "results": [int(r.suppressed is None) for r in rows]}

    def _buckets(self, agent: int, span: Span) -> dict[str, Any]:
        step = _nice_step((span.end - span.start) // MOST_POINTS)
        bucket = windows.c.end_ms - windows.c.end_ms % step
        names = ("windows", "results", "first_ms", "last_ms", "covered_ms", "withheld_ms", *_REASONS, *AVERAGED)
        columns = [bucket.label("t"), *(SUMMED[name] for name in names)]
        query = select(*columns).where(*_in(agent, span)).group_by(bucket).order_by(bucket)
        with self._reading() as connection:
            return _bucketed(step, connection.execute(query).all())

    def _from_hours(self, agent: int, span: Span) -> dict[str, Any]:
        step = max(HOUR_MS, _nice_step((span.end - span.start) // MOST_POINTS))
        h = hours.c
        bucket = h.hour_ms - h.hour_ms % step
        # An hour of the older version, not made again yet, is taken for whole.
        first, last = func.coalesce(h.first_ms, h.hour_ms), func.coalesce(h.last_ms, h.hour_ms + HOUR_MS)
        covered, none = func.coalesce(h.covered_ms, HOUR_MS), case((h.results == 0, HOUR_MS), else_=0)
        columns = [bucket.label("t"), func.sum(h.windows), func.sum(h.results), func.min(first), func.max(last)]
        columns += [func.sum(covered), func.sum(func.coalesce(h.withheld_ms, none))]
        columns += [func.min(h.suppressed_low), func.max(h.suppressed_high)]
        # An hour without a result has no weight in the means of results; nor has one whose results lack this number
        # (profile `strict` publishes the index alone) in that number's mean. Within an hour that mixes both, `results`
        # counts both: its weight is too great, its mean is right.
        for name in AVERAGED:
            weight = func.coalesce(h.counted, h.windows) if name == "seats" else h.results
            weights = func.sum(case((h[name].is_not(None), weight), else_=0))
            columns.append(func.sum(h[name] * weight) / func.nullif(weights, 0))
        query = select(*columns).where(h.agent_id == agent, h.hour_ms >= span.start - span.start % HOUR_MS)
        query = query.where(h.hour_ms < span.end, h.windows > 0).group_by(bucket).order_by(bucket)
        with self._reading() as connection:
            return _bucketed(step, connection.execute(query).all())

    def happenings(self, agent: int, span: Span, most: int = 200) -> dict[str, Any]:
        """Return the newest events of one agent in a span, and what was given up unanswered. A loss is told as far as
        the windows are not here (`missing`), and not at all where they all are."""
        e, g = events.c, gaps.c
        happened = select(e.at_ms, e.kind, e.body).where(e.agent_id == agent, e.at_ms >= span.start, e.at_ms < span.end)
        lost = select(g.stream_id, g.from_seq, g.to_seq, g.reason, g.received_ms).join_from(gaps, streams)
        lost = lost.where(streams.c.agent_id == agent, g.received_ms >= span.start, g.received_ms < span.end)
        lost = lost.where(g.reason == "unanswered")  # what the agent declared is among its events
        with self._reading() as connection:
            rows = connection.execute(happened.order_by(e.at_ms.desc()).limit(most)).all()
            holes = connection.execute(lost.order_by(g.received_ms.desc()).limit(most)).all()
            found: list[dict[str, Any]] = [{"at": r.at_ms, "kind": r.kind, "body": json.loads(r.body)} for r in rows]
            declared = [event for event in found if event["kind"] == "gap"]
            losses = Losses(connection, agent)
            for event, parts in zip(declared, losses.of_events(event["body"] for event in declared), strict=True):
                event["missing"] = parts
            given_up = [{"reason": r[3], "at": r[4], "missing": losses.of(r[0], (r[1], r[2]))} for r in holes]
        return {
            "events": [event for event in found if event.get("missing") != []],
            "lost": [hole for hole in given_up if hole["missing"]],
        }

    def made_by(self, agent: int, span: Span, most: int = 20) -> list[dict[str, Any]]:
        """Return what made the windows of an agent in a span, each with its last window, the newest first: model,
        backend, weights, calibration. A window without a result has no weights: it adds nothing where one has. In a
        long span the last window of each hour is asked."""
        w, names = windows.c, ("model_id", "model_sha256", "backend", "weights_id", "calibration_id", "clock_source")
        if span.end - span.start > _LONG_MS:
            # A lookup an hour: a join would begin with all windows.
            one = select(w.provenance_id).where(w.agent_id == hours.c.agent_id, w.end_ms == hours.c.last_ms).limit(1)
            made = select(one.scalar_subquery().label("provenance_id"), hours.c.last_ms.label("end_ms"))
            made = made.where(hours.c.agent_id == agent, hours.c.last_ms >= span.start, hours.c.last_ms < span.end)
            made = made.where(hours.c.hour_ms > span.start - HOUR_MS, hours.c.hour_ms < span.end)
        else:
            made = select(w.provenance_id, w.end_ms).where(*_in(agent, span))
        of = made.subquery().c
        used = select(of.provenance_id, func.max(of.end_ms).label("until")).group_by(of.provenance_id).subquery()
        columns = [provenance.c[name] for name in names]
        query = select(*columns, func.max(used.c.until).label("until"))
        query = query.join_from(used, provenance, provenance.c.id == used.c.provenance_id).group_by(*columns)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(func.max(used.c.until).desc())).mappings().all()
        weighed = {_maker(row) for row in rows if row["weights_id"] is not None}
        return [dict(row) for row in rows if row["weights_id"] is not None or _maker(row) not in weighed][:most]

    def recent(self, wanted: Collection[int], most: int = 40) -> dict[int, list[tuple[int, float | None]]]:
        """Return of each of these agents (end_ms, engagement or None) of its newest windows, as they were made.

        One query for all, which finds by the index where the newest begin; to rank them all would read them all.
        """
        w, inner = windows.c, windows.alias().c
        newest = select(inner.end_ms).where(inner.agent_id == agents.c.id).order_by(inner.end_ms.desc())
        since = func.coalesce(newest.limit(1).offset(most - 1).scalar_subquery(), 0).label("since")
        # Materialized: else PostgreSQL finds it anew for each window.
        first = select(agents.c.id, since).where(agents.c.id.in_(sorted(wanted))).cte().prefix_with("MATERIALIZED")
        newer = (w.agent_id == first.c.id) & (w.end_ms >= first.c.since)
        query = select(w.agent_id, w.end_ms, w.engagement).join_from(first, windows, newer)
        found: dict[int, list[tuple[int, float | None]]] = {agent: [] for agent in wanted}
        with self._reading() as connection:
            for agent, end, value in connection.execute(query.order_by(w.agent_id, w.stream_id, w.seq)):
                found[agent].append((end, value))
        return {agent: trend[-most:] for agent, trend in found.items()}


def _maker(row: Any) -> tuple[Any, ...]:
    return tuple(value for name, value in row.items() if name not in ("weights_id", "until"))


def _in(agent: int, span: Span) -> tuple[Any, ...]:
    return windows.c.agent_id == agent, windows.c.end_ms >= span.start, windows.c.end_ms < span.end


def _nice_step(least_ms: int) -> int:
    """Return the first step of a clock that is at least `least_ms`."""
    minute = 60_000
    for step in (minute, 2 * minute, 5 * minute, 10 * minute, 20 * minute, 30 * minute, HOUR_MS, 2 * HOUR_MS):
        if step >= least_ms:
            return step
    hours_needed = -(-least_ms // HOUR_MS)
    return next((h for h in (4, 6, 12, 24, 48, 96, 168) if h >= hours_needed), hours_needed) * HOUR_MS


def _bucketed(step: int, rows: Any) -> dict[str, Any]:
    table = _columns(rows, ["t", "windows", "results", *_PLACED, *_REASONS, *AVERAGED])
    reasons = zip(*(table.pop(name) for name in _REASONS), strict=True)
    return {"step": step, **table, "suppressed": [sorted({why for why in both if why}) for both in reasons]}


def _columns(rows: Any, names: list[str]) -> dict[str, list[Any]]:
    columns: list[Any] = list(zip(*map(tuple, rows), strict=True)) if rows else [()] * len(names)
    return {name: [_plain(v) for v in column] for name, column in zip(names, columns, strict=True)}


def _plain(value: Any) -> Any:
    """Round for the wire; PostgreSQL gives sums of integers as Decimal."""
    if type(value) is float:
        return round(value, 4) if math.isfinite(value) else None  # JSON has no other numbers
    if value is None or isinstance(value, int | str):
        return value
    number = float(value)
    return int(number) if number.is_integer() else round(number, 4)
