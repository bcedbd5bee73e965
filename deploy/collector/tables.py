"""The SQL schema, the same in SQLite and PostgreSQL. Times are UTC milliseconds.

A stream is one agent in one epoch: (stream, seq) is the contract's idempotency key. Text that repeats in every
window (model, weights, …) is kept once, in `provenance`.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from agent.emotions import LABELS

VERSION: Final = 2
"""Of this schema. A database of a newer version is refused, never touched; an older one is brought up by a writer."""
HOUR_MS: Final = 3_600_000

metadata = MetaData()
# SQLite numbers rows by itself only in a column that is exactly INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

versions = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

agents = Table(
    "agents",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("site", String(64), nullable=False),
    Column("room", String(64), nullable=False),
    Column("agent", String(64), nullable=False),
    UniqueConstraint("site", "room", "agent"),
)

streams = Table(
    "streams",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("agent_id", _Serial, ForeignKey("agents.id"), nullable=False),
    Column("epoch", String(200), nullable=False),
    Column("upto_seq", BigInteger, nullable=False, default=0),
    UniqueConstraint("agent_id", "epoch"),
)
"""`upto_seq`: everything up to here is stored or known to be lost. A lower bound; the truth is in `windows`."""

provenance = Table(
    "provenance",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("hash", String(40), nullable=False, unique=True),
    Column("model_id", String(200), nullable=False),
    Column("model_sha256", String(200)),
    Column("backend", String(200)),
    Column("weights_id", String(200)),
    Column("calibration_id", String(200)),
    Column("dp_mechanism", String(200)),
    Column("clock_source", String(200)),
    Column("boot_id", String(200), nullable=False),
)

MEANS: Final = ("valence", "arousal", "expressivity", *(f"share_{label}" for label in LABELS))
"""Columns that are a mean over the room, next to the index."""

windows = Table(
    "windows",
    metadata,
    Column("stream_id", _Serial, ForeignKey("streams.id"), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("agent_id", _Serial, ForeignKey("agents.id"), nullable=False),
    Column("provenance_id", _Serial, ForeignKey("provenance.id"), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("mono_start_ns", BigInteger, nullable=False),
    Column("clock_synced", Boolean, nullable=False),
    Column("replay", Boolean, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("seats", Integer, nullable=False),
    Column("n_eff", Float, nullable=False),
    Column("coverage", Float, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("suppressed", String(200)),
    Column("engagement", Float),
    Column("ci_low", Float),
    Column("ci_high", Float),
    Column("delta", Float),
    Column("dp_epsilon", Float),
    Column("dp_spent_today", Float),
    *(Column(name, Float) for name in MEANS),
    sqlite_with_rowid=False,
)
windows_by_time = Index("windows_by_time", windows.c.agent_id, windows.c.end_ms)

gaps = Table(
    "gaps",
    metadata,
    Column("stream_id", _Serial, ForeignKey("streams.id"), primary_key=True, autoincrement=False),
    Column("from_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("to_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", String(200), nullable=False),
    Column("received_ms", BigInteger, nullable=False),
)
"""Windows that do not exist any more, as the agent declared (or, "unanswered", as nobody could deliver)."""

events = Table(
    "events",
    metadata,
    Column("agent_id", _Serial, ForeignKey("agents.id"), primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", String(40), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("body", Text, nullable=False),
)

live = Table(
    "live",
    metadata,
    Column("agent_id", _Serial, ForeignKey("agents.id"), primary_key=True, autoincrement=False),
    Column("changed_ms", BigInteger, nullable=False, index=True),
    Column("status", Text),
    Column("status_ms", BigInteger),
    Column("session", BigInteger),
    Column("window_stream", _Serial),
    Column("window_seq", BigInteger),
    Column("window", Text),
    Column("window_ms", BigInteger),
    Column("meta", Text),
    Column("health", Text),
    Column("health_ms", BigInteger),
)
"""One row an agent: what the page shows of now. JSON of the accepted message, and when it was received."""

hours = Table(
    "hours",
    metadata,
    Column("agent_id", _Serial, ForeignKey("agents.id"), primary_key=True, autoincrement=False),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("windows", Integer, nullable=False),
    Column("results", Integer, nullable=False),
    Column("seats", Float),
    Column("n_eff", Float),
    Column("coverage", Float),
    Column("engagement", Float),
    Column("ci_low", Float),
    Column("ci_high", Float),
    *(Column(name, Float) for name in MEANS),
    Column("first_ms", BigInteger),
    Column("last_ms", BigInteger),
    Column("covered_ms", BigInteger),
    Column("withheld_ms", BigInteger),
    Column("counted", Integer),
    Column("suppressed_low", String(200)),
    Column("suppressed_high", String(200)),
    sqlite_with_rowid=False,
)
"""Means of one hour of windows; made again from `windows` whenever that hour got a new one.

`n_eff` and `coverage` are means over windows with a result, `seats` over the `counted` ones that looked. The windows
lie between `first_ms` and `last_ms`, last `covered_ms` together, and `withheld_ms` of that without a result, for the
reasons from `suppressed_low` to `suppressed_high` by name: all of them where they are one or two.
"""

ADDED: Final = ("first_ms", "last_ms", "covered_ms", "withheld_ms", "counted", "suppressed_low", "suppressed_high")
"""Columns of `hours` that version 1 did not have; null until that hour is made again."""

stale_hours = Table(
    "stale_hours",
    metadata,
    Column("id", _Serial, primary_key=True),
    Column("agent_id", _Serial, nullable=False),
    Column("hour_ms", BigInteger, nullable=False),
)
"""Hours to make again. Append-only, without a key: two collectors may write the same hour at the same moment."""
