"""Pruning beside a collector that writes."""

from typing import Any

from sqlalchemy import event

from deploy.collector.database import open_database
from deploy.collector.prune import prune
from deploy.collector.store import Store
from tests.deploy.conftest import MINUTE, NOW_MS, count, window


def test_prune_keeps_no_writer_waiting(sqlite_url: str) -> None:
    """While prune looks for what is old SQLite can be written, and each transaction that deletes is a part of it."""
    engine, other = open_database(sqlite_url), open_database(sqlite_url)
    store = Store(other)
    store.write([window(room, n) for room in (1, 2) for n in range(1, 4)], NOW_MS)
    wrote = 0

    def write(_c: Any, _cu: Any, statement: str, *_: Any) -> None:
        nonlocal wrote
        if statement.startswith("SELECT"):
            wrote += 1
            store.write([window(3, 100 + wrote)], NOW_MS + 10 * MINUTE)

    event.listen(engine, "before_cursor_execute", write)
    assert prune(engine, NOW_MS + 5 * MINUTE) == 6
    assert count(other) == wrote > 4
    engine.dispose()
    other.dispose()
