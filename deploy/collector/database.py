"""Opens the database: SQLite in WAL mode, or PostgreSQL, with TimescaleDB where the extension is there."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.schema import CreateColumn

from agent.errors import CannotWriteError, ConfigError, InputError, UnavailableError, first_line
from deploy.collector.tables import ADDED, HOUR_MS, VERSION, hours, metadata, stale_hours, versions

READING = {"reads_only": True}
"""Execution options of a connection that will only read: in SQLite it keeps no writer waiting."""
_SCHEMA_LOCK = 7_251_962
"""Any fixed number: two collectors that start at once must not both create the tables."""


def open_database(url: str, *, read_only: bool = False, create: bool = True) -> Engine:
    """Return an engine on a database with our tables; `create` makes them where there are none.

    Raises ConfigError for a URL that makes no sense or a newer schema, UnavailableError if it is not there, InputError
    if it was not to be created and has no tables.
    """
    try:
        parsed = make_url(url)
    except ValueError:
        raise ConfigError("database: expected a number as the port of postgresql://USER@HOST:PORT/NAME") from None
    except ArgumentError:
        # Not the whole of it: there may be a password further on.
        start = url.partition(":")[0][:20]
        raise ConfigError(f"database: expected sqlite:///PATH or postgresql://…, got {start!r}…") from None
    if parsed.get_backend_name() == "sqlite":
        engine = _sqlite(parsed, read_only, create)
    elif parsed.get_backend_name() == "postgresql":
        options = "-c default_transaction_read_only=on" if read_only else ""
        args = {"options": options} if options else {}
        parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed, connect_args={"connect_timeout": 5, **args}, pool_pre_ping=True, pool_size=4)
    else:
        raise ConfigError(f"database: expected sqlite or postgresql, got {parsed.get_backend_name()!r}")
    try:
        _prepare(engine, read_only, create)
    except (OperationalError, ProgrammingError) as error:
        raise UnavailableError(f"database {parsed.render_as_string()}: {first_line(error.orig or error)}") from error
    except DatabaseError as error:
        what = f"expected a collector's database, got: {error.orig}; name another file or move this one away"
        raise ConfigError(f"database {parsed.render_as_string()}: {what}") from error
    return engine


def _sqlite(url: URL, read_only: bool, create: bool) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("database: expected sqlite:///PATH, got no path: several threads read it")
    if not create and not Path(url.database).is_file():
        raise InputError(f"database {url.database}: expected a collector's database, got no such file; check --db")
    if not read_only:
        _make_folder(Path(url.database).parent)
    elif not Path(url.database).is_file():
        raise UnavailableError(f"database {url.database}: no such file; start `fer-collector run` first")
    engine = create_engine(url, connect_args={"timeout": 30}, pool_size=4)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's own BEGIN below
        connection.execute("PRAGMA journal_mode=WAL")
        # NORMAL in WAL loses the last commits in a power cut; a window is acknowledged only after this commit.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-65536")
        connection.execute("PRAGMA mmap_size=268435456")
        if read_only:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # A writer that starts with a read cannot wait for another writer: it fails at once. Unless it says so here.
        reads = read_only or connection.get_execution_options().get("reads_only")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWriteError(f"database folder {folder}: {error.strerror}") from error


def _prepare(engine: Engine, read_only: bool, create: bool) -> None:
    if read_only:
        with engine.connect() as connection:
            if inspect(connection).has_table("schema_version"):
                return _check_version(connection)
        raise UnavailableError("database: no tables of a collector in it; start `fer-collector run` first")
    with engine.begin() as connection:
        if not create and not inspect(connection).has_table("schema_version"):
            raise InputError("database: expected the tables of a collector in it, got none; check --db")
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _SCHEMA_LOCK})
        fresh = not inspect(connection).has_table("schema_version")
        if not fresh:
            _bring_up(connection)
            return _check_version(connection)
        metadata.create_all(connection)
        connection.execute(insert(versions), {"version": VERSION})
    if engine.dialect.name == "postgresql":
        _make_hypertable(engine)
    return None


def _check_version(connection: Connection) -> None:
    found = connection.execute(select(versions.c.version)).scalar_one()
    if found != VERSION:
        what = "start `fer-collector run` of this version first" if found < VERSION else "nothing was changed in it"
        raise ConfigError(f"database: expected schema version {VERSION}, got {found}; {what}")


def _bring_up(connection: Connection) -> None:
    """Bring version 1 up to 2, within the caller's transaction: it lacks columns of `hours`, and its means of people
    counted withheld numbers as zero. Every hour is marked, to be made again by the collector."""
    if connection.execute(select(versions.c.version)).scalar_one() != 1:
        return
    for name in ADDED:
        column = CreateColumn(hours.c[name]).compile(dialect=connection.dialect)
        connection.execute(text(f"ALTER TABLE hours ADD COLUMN {column}"))
    marks = select(hours.c.agent_id, hours.c.hour_ms)
    connection.execute(insert(stale_hours).from_select(["agent_id", "hour_ms"], marks))
    connection.execute(update(versions).values(version=2))


def _make_hypertable(engine: Engine) -> None:
    """Turn `windows` into a hypertable of one-week chunks where the server offers TimescaleDB.

    Its unique keys must hold the time: an agent sends the same end_ms with the same seq, so duplicates still meet.
    """
    with contextlib.suppress(SQLAlchemyError), engine.begin() as connection:
        offered = text("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'")
        if connection.execute(offered).first() is None:
            return
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb"))
        connection.execute(text("ALTER TABLE windows DROP CONSTRAINT windows_pkey"))
        connection.execute(text("ALTER TABLE windows ADD PRIMARY KEY (stream_id, seq, end_ms)"))
        week = 7 * 24 * HOUR_MS
        connection.execute(text(f"SELECT create_hypertable('windows', 'end_ms', chunk_time_interval => {week})"))
