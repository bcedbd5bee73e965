"""Writes accepted messages: one transaction a batch; a message that is stored already is not stored again."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, bindparam, column, insert, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from agent.emotions import LABELS
from deploy.collector.live_rows import forget, live_upserts, lock_live, since_forgotten
from deploy.collector.messages import Forgotten, Gap, Message, Source, Status, Window
from deploy.collector.progress import Progress, read_progress
from deploy.collector.tables import HOUR_MS, agents, events, gaps, provenance, stale_hours, streams, windows

_MOST_CACHED: Final = 200_000
"""Entries of a cache of ids before it starts anew."""

_MadeBy = tuple[str | None, ...]


@dataclass(slots=True)
class Written:
    """What one batch changed."""

    stored: int = 0
    """Windows that are new."""
    duplicates: int = 0
    """Windows that were there."""
    seqs: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Stream → sequence numbers that are now in the database."""
    lost: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Stream → ranges that the agent declared lost."""
    newest: dict[int, int] = field(default_factory=dict)
    """Stream → highest sequence number that the agent says it has used; 0 for none yet."""


class Store:
    """The one writer of a process. Not for several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        dialect = sqlite if engine.dialect.name == "sqlite" else postgresql
        self._insert: Callable[[Table], Any] = dialect.insert
        self._agents: dict[Source, int] = {}
        self._streams: dict[tuple[int, str], int] = {}
        self._stream_names: dict[int, tuple[Source, str]] = {}
        self._provenance: dict[_MadeBy, int] = {}

    def write(self, messages: Sequence[Message], now_ms: int) -> Written:
        """Store a batch, all or nothing. Raises SQLAlchemyError; then nothing of it was stored."""
        self._learn_ids(m for m in messages if not isinstance(m.value, Forgotten))
        removed, present = since_forgotten(messages)
        written = Written()
        rows = [self._window_row(m, now_ms) for m in messages if m.kind == "window"]
        with self.engine.begin() as connection:
            if rows:
                written.stored = write_rows(connection, self._insert(windows).on_conflict_do_nothing(), rows)
                written.duplicates = len(rows) - written.stored
                self._mark_hours(connection, rows)
            self._write_events(connection, messages, now_ms, written)
            lock_live(connection)  # the last lock that is taken: who has it waits for nobody
            for source in removed:
                connection.execute(forget(source))
            for statement, values in live_upserts(
                self._insert, present, self._agents.__getitem__, self.stream_of, now_ms
            ):
                write_rows(connection, statement, values)
        for row in rows:
            written.seqs[row["stream_id"]].append(row["seq"])
        for m in messages:
            if isinstance(m.value, Status) and m.value.epoch:
                written.newest[self.stream_of(m.source, m.value.epoch)] = m.value.newest_seq
        return written

    def name_of(self, stream: int) -> tuple[Source, str]:
        """Return whose stream it is, and its epoch."""
        if stream not in self._stream_names:
            query = select(agents.c.site, agents.c.room, agents.c.agent, streams.c.epoch).join_from(streams, agents)
            with self.engine.connect() as connection:
                site, room, agent, epoch = connection.execute(query.where(streams.c.id == stream)).one()
            self._stream_names[stream] = (Source(site, room, agent), epoch)
        return self._stream_names[stream]

    def progress(self, wanted: Collection[int]) -> dict[int, Progress]:
        """Return how complete these streams are."""
        return read_progress(self.engine, wanted)

    def save_progress(self, upto: dict[int, int]) -> None:
        """Remember what is complete; it never goes back."""
        statement = (
            update(streams)
            .where(streams.c.id == bindparam("stream"), streams.c.upto_seq < bindparam("upto"))
            .values(upto_seq=bindparam("upto"))
        )
        with self.engine.begin() as connection:
            connection.execute(statement, [{"stream": s, "upto": u} for s, u in sorted(upto.items())])

    def write_lost(self, stream: int, first: int, last: int, reason: str, now_ms: int) -> None:
        """Record windows that nobody can deliver any more."""
        row = {"stream_id": stream, "from_seq": first, "to_seq": last, "reason": reason, "received_ms": now_ms}
        with self.engine.begin() as connection:
            connection.execute(self._insert(gaps).on_conflict_do_nothing(), [row])

    def _mark_hours(self, connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
        hit = {(row["agent_id"], row["end_ms"] // HOUR_MS * HOUR_MS) for row in rows}
        write_rows(connection, insert(stale_hours), [{"agent_id": a, "hour_ms": h} for a, h in sorted(hit)])

    def _write_events(self, connection: Connection, messages: Iterable[Message], now_ms: int, written: Written) -> None:
        declared, happened = [], []
        for m in messages:
            if m.kind != "event":
                continue
            if isinstance(m.value, Gap):
                body = {"from": m.value.from_, "to": m.value.to, "reason": m.value.reason, "kind": "gap"}
                body |= m.value.model_dump(include={"epoch", "at_ms"}, exclude_none=True)
                if m.value.epoch is not None:
                    stream = self.stream_of(m.source, m.value.epoch)
                    written.lost[stream].append((m.value.from_, m.value.to))
                    declared.append(
                        {"stream_id": stream, "from_seq": m.value.from_, "to_seq": m.value.to}
                        | {"reason": m.value.reason, "received_ms": now_ms}
                    )
            else:
                body = m.value.model_dump(exclude_none=True)
            happened.append(self._event_row(m.source, body, now_ms))
        if declared:
            connection.execute(self._insert(gaps).on_conflict_do_nothing(), declared)
        if happened:
            connection.execute(self._insert(events).on_conflict_do_nothing(), happened)

    def _event_row(self, source: Source, body: dict[str, Any], now_ms: int) -> dict[str, Any]:
        words = json.dumps(body, sort_keys=True)
        return {
            "agent_id": self._agents[source],
            "at_ms": body.get("at_ms", now_ms),
            "hash": _digest(words),
            "kind": body["kind"],
            "body": words,
        }

    def _window_row(self, message: Message, now_ms: int) -> dict[str, Any]:
        w: Window = message.value
        e, dp = w.engagement, w.dp
        shares = w.shares or {}
        low, high = e.ci95 if e and e.ci95 else (None, None)
        return {
            "stream_id": self.stream_of(message.place, w.epoch),
            "seq": w.seq,
            "agent_id": self._agents[message.place],
            "provenance_id": self._provenance[_made_by(w)],
            "start_ms": w.start_ms,
            "end_ms": w.end_ms,
            "received_ms": now_ms,
            "mono_start_ns": w.mono_start_ns,
            "clock_synced": w.clock.synced,
            "replay": w.replay,
            "partial": w.partial,
            "seats": w.seats,
            "n_eff": w.n_eff,
            "coverage": w.coverage,
            "frames": w.frames,
            "suppressed": w.suppressed,
            "engagement": e.value if e else None,
            "ci_low": low,
            "ci_high": high,
            "delta": e.delta if e else None,
            "dp_epsilon": dp.epsilon if dp else None,
            "dp_spent_today": dp.spent_today if dp else None,
            "valence": w.valence,
            "arousal": w.arousal,
            "expressivity": w.expressivity,
            **{f"share_{label}": shares.get(label) for label in LABELS},
        }

    def stream_of(self, source: Source, epoch: str) -> int:
        """Return the number of a stream that the last batch spoke of."""
        return self._streams[self._agents[source], epoch]

    def _learn_ids(self, messages: Iterable[Message]) -> None:
        """Give every agent, stream and provenance of the batch its row, in a transaction of its own.

        It commits first, so that a rolled-back batch cannot leave an id in these caches that is in no table.
        """
        for cache in (self._agents, self._streams, self._stream_names, self._provenance):
            if len(cache) > _MOST_CACHED:
                cache.clear()
        messages = list(messages)
        new_agents = {s for m in messages for s in (m.source, m.place)} - self._agents.keys()
        if new_agents:
            rows = sorted((s.site, s.room, s.agent) for s in new_agents)
            keys = (agents.c.site, agents.c.room, agents.c.agent)
            self._agents |= {Source(*key): i for key, i in self._learn(agents, keys, rows, {}).items()}
        epochs = {(self._agents[m.place], e): m.place for m in messages if (e := getattr(m.value, "epoch", None))}
        if new_epochs := sorted(epochs.keys() - self._streams.keys()):
            found = self._learn(streams, (streams.c.agent_id, streams.c.epoch), new_epochs, {"upto_seq": 0})
            self._streams |= found
            self._stream_names |= {i: (epochs[key], key[1]) for key, i in found.items()}
        made = {_made_by(m.value) for m in messages if m.kind == "window"} - self._provenance.keys()
        if made:
            by_hash = {_digest(repr(key)): key for key in made}
            columns = (provenance.c.hash, *(provenance.c[name] for name in _MADE_BY))
            rows = [(h, *key) for h, key in sorted(by_hash.items())]
            found = self._learn(provenance, columns, rows, {}, key_length=1)
            self._provenance |= {by_hash[h]: i for (h,), i in found.items()}

    def _learn(
        self, table: Table, columns: Any, rows: list[Any], defaults: dict[str, Any], key_length: int | None = None
    ) -> dict[Any, int]:
        names = [c.name for c in columns]
        keys = columns[: key_length or len(columns)]
        with self.engine.begin() as connection:
            statement = self._insert(table).on_conflict_do_nothing()
            connection.execute(statement, [dict(zip(names, row, strict=True)) | defaults for row in rows])
            found: dict[Any, int] = {}
            for start in range(0, len(rows), 200):
                part = [tuple(row[: len(keys)]) for row in rows[start : start + 200]]
                query = select(table.c.id, *keys).where(tuple_(*keys).in_(part))
                found |= {tuple(row[1:]): row[0] for row in connection.execute(query)}
        return found


def write_rows(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> int:
    """Insert (or update) many rows; return how many were written.

    PostgreSQL gets what is inserted as one JSON text: one statement with one parameter, not a statement a row.
    """
    if connection.dialect.name != "postgresql" or statement.is_update:
        return max(0, connection.execute(statement.execution_options(preserve_rowcount=True), rows).rowcount)
    names = list(rows[0])
    quoted = ", ".join(f'"{name}"' for name in names)
    source = text(f"SELECT {quoted} FROM json_populate_recordset(NULL::{statement.table.name}, :rows)")  # noqa: S608
    statement = statement.from_select(names, source.columns(*map(column, names)))
    done: int = connection.execute(
        statement.execution_options(preserve_rowcount=True), {"rows": json.dumps(rows)}
    ).rowcount
    return done


_MADE_BY: Final = (
    "model_id",
    "model_sha256",
    "backend",
    "weights_id",
    "calibration_id",
    "dp_mechanism",
    "clock_source",
    "boot_id",
)
"""Columns of `provenance`, in the order of `_made_by`."""


def _made_by(w: Window) -> _MadeBy:
    weights = w.engagement.weights_id if w.engagement else None
    mechanism = w.dp.mechanism if w.dp else None
    m = w.model
    return (m.id, m.sha256, m.backend, weights, w.calibration_id, mechanism, w.clock.source, w.boot_id)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]
