"""What is in the database after a batch, in SQLite and in PostgreSQL."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError

from agent.emotions import LABELS
from agent.errors import ConfigError, UnavailableError
from deploy.collector.bench.lessons import suppressed_window, topic_of, window_of
from deploy.collector.database import open_database
from deploy.collector.history import History, Span
from deploy.collector.hub import Hub
from deploy.collector.messages import Message, Refused, Source, parse_message
from deploy.collector.progress import Progress
from deploy.collector.prune import prune
from deploy.collector.rollup import refresh_hours
from deploy.collector.store import Store
from deploy.collector.tables import hours, provenance, windows
from tests.deploy.conftest import MINUTE, NOW_MS, count, failing, message, window


def test_duplicates_are_one_row(engine: Engine) -> None:
    """The same window in one batch, in the next, and after a restart is one row; two epochs are two."""
    store = Store(engine)
    first = store.write([window(1, 1), window(1, 1), window(1, 2)], 1)
    again = Store(engine).write([window(1, 2), window(1, 1, epoch="2")], 2)
    assert (first.stored, first.duplicates, again.stored, again.duplicates) == (2, 1, 1, 1)
    assert count(engine) == 3


def test_every_number_is_kept(engine: Engine) -> None:
    """What was in the payload is in the row, each number in its own column, and what made it beside it."""
    dp = {"epsilon": 1.5, "mechanism": "discrete-laplace/1", "spent_today": 4.5}
    index = {"value": 61.0, "ci95": [55.5, 66.5], "delta": -3.5, "weights_id": "w/2"}
    more = {"engagement": index, "dp": dp, "partial": True, "calibration_id": "c-1"}
    bodies = [window_of(1, 5, NOW_MS, **more), window_of(1, 6, NOW_MS + 1), suppressed_window(1, 7, NOW_MS + 2)]
    Store(engine).write([parse_message(topic_of(1), body) for body in bodies], 99)
    with engine.connect() as connection:
        query = select(windows, provenance).join_from(windows, provenance).order_by(windows.c.seq)
        rows = [row._mapping for row in connection.execute(query)]
    for body, row in zip(bodies, rows, strict=True):
        sent = json.loads(body)
        plain = [
            "seq",
            "start_ms",
            "end_ms",
            "mono_start_ns",
            "replay",
            "partial",
            "seats",
            "n_eff",
            "coverage",
            "frames",
        ]
        plain += ["suppressed", "boot_id", "calibration_id", "valence", "arousal", "expressivity"]
        assert {name: row[name] for name in plain} == {name: sent.get(name) for name in plain}
        index, dp = sent.get("engagement") or {}, sent.get("dp") or {}
        expected = {
            **{"received_ms": 99, "clock_synced": sent["clock"]["synced"], "clock_source": sent["clock"]["source"]},
            **{"model_id": sent["model"]["id"], "model_sha256": sent["model"]["sha256"]},
            **{"backend": sent["model"]["backend"], "engagement": index.get("value"), "delta": index.get("delta")},
            **dict(zip(("ci_low", "ci_high"), index.get("ci95") or (None, None), strict=True)),
            **{"weights_id": index.get("weights_id"), "dp_mechanism": dp.get("mechanism")},
            **{"dp_epsilon": dp.get("epsilon"), "dp_spent_today": dp.get("spent_today")},
            **{f"share_{label}": (sent.get("shares") or {}).get(label) for label in LABELS},
        }
        assert {name: row[name] for name in expected} == expected


def test_hostile_names_are_text(engine: Engine) -> None:
    """SQL and HTML in a field come back as they were sent, and every table is still there."""
    evil = "'; DROP TABLE windows; -- <script>alert(1)</script> %s :x {0} \\ \u202e"
    model = {"id": evil, "sha256": evil, "backend": evil}
    Store(engine).write([window(1, 1, model=model), message("event", kind=evil[:60], reason=evil, at_ms=5)], 1)
    history = History(engine)
    agent = history.agent_id(Source("school-0", "room-2", "fer-1"))
    assert agent is not None
    assert history.made_by(agent, Span(NOW_MS, NOW_MS + 60 * MINUTE))[0]["model_id"] == evil
    assert history.happenings(agent, Span(0, 10))["events"][0]["body"]["reason"] == evil


def test_same_event_twice_is_one(engine: Engine) -> None:
    """Two collectors that store the same event leave one."""
    for _ in range(2):
        Store(engine).write([message("event", kind="camera", reason="camera.black", at_ms=5)], 1)
    assert count(engine, "SELECT count(*) FROM events") == 1


def test_failed_batch_leaves_nothing(engine: Engine) -> None:
    """A batch is stored whole or not at all, and the next one is not harmed."""
    store = Store(engine)
    with failing(engine, "INTO live", 1), pytest.raises(OperationalError, match="the disk went away"):
        store.write([window(1, 1), window(1, 2)], 1)
    assert count(engine) == 0
    assert store.write([window(1, 1)], 1).stored == 1


def test_hours_are_the_means_of_their_windows(engine: Engine) -> None:
    """The hourly table equals the means computed from the windows, late ones included."""
    store = Store(engine)
    store.write([window(1, n) for n in range(1, 150, 2)], 1)
    refresh_hours(engine)
    quiet = parse_message(topic_of(1), suppressed_window(1, 300, NOW_MS + 2 * MINUTE + 1))
    store.write([window(1, n) for n in range(2, 150, 2)] + [quiet], 1)
    refresh_hours(engine)
    direct = text(
        "SELECT end_ms / 3600000 * 3600000, count(*), count(engagement), avg(engagement), avg(share_fear) "
        "FROM windows GROUP BY 1 ORDER BY 1"
    )
    kept = select(hours.c.hour_ms, hours.c.windows, hours.c.results, hours.c.engagement, hours.c.share_fear)
    with engine.connect() as connection:
        expected = [tuple(row) for row in connection.execute(direct)]
        found = [tuple(row) for row in connection.execute(kept.order_by(hours.c.hour_ms))]
    assert len(expected) == 3
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[3:] == pytest.approx(theirs[3:])


def test_prune_deletes_only_what_is_old(engine: Engine) -> None:
    """Pruning removes windows that ended before the date, and does not open a hole."""
    store = Store(engine)
    written = store.write([window(1, n) for n in (1, 2, 3)], NOW_MS + 3 * MINUTE)
    stream = next(iter(written.seqs))
    store.save_progress({stream: 3})
    assert prune(engine, NOW_MS + 2 * MINUTE) == 1
    assert count(engine) == 2
    assert store.progress([stream]) == {stream: Progress(3)}


def test_gaps_are_read_in_bounded_parts(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stream with very many gaps the nearest are read, of another beside it all; the next part comes once these
    are passed."""
    monkeypatch.setattr("deploy.collector.progress._MOST_GAPS", 8)
    store = Store(engine)
    many = [message("event", kind="gap", epoch="1", **{"from": n, "to": n}) for n in range(2, 40, 2)]
    other = [parse_message(topic_of(2, "event"), b'{"kind": "gap", "epoch": "1", "from": 3, "to": 9}')]
    (one, gaps), (two, _) = store.write([*many, *other], 1).lost.items()
    assert len(gaps) == 19
    assert store.progress([one, two]) == {
        one: Progress(0, lost=[(n, n) for n in (2, 4, 6, 8)]),
        two: Progress(0, lost=[(3, 9)]),
    }
    store.save_progress({one: 8, two: 9})
    assert store.progress([one, two])[one].lost == [(n, n) for n in range(10, 26, 2)], "the other has none any more"


def test_more_streams_than_are_asked_for_at_once(engine: Engine) -> None:
    """Whatever number of rooms is new in one batch, each has its stream, its own windows and its progress."""
    store = Store(engine)
    written = store.write([window(room, room % 7 + 1) for room in range(1100)], 1)
    assert (written.stored, len(written.seqs)) == (1100, 1100)
    found = store.progress(written.seqs)
    assert found == {stream: Progress(0, list(seqs)) for stream, seqs in written.seqs.items()}


def test_a_store_that_forgets_ids_reads_them_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more names than are remembered the rows get the same ids as before, and a stream keeps its name."""
    monkeypatch.setattr("deploy.collector.store._MOST_CACHED", 1)
    store = Store(engine)
    (one, two), (again, other) = (
        store.write([window(1, seq), window(2, seq, epoch=str(seq + 1))], 1).seqs for seq in (1, 2)
    )
    assert (one, two != other) == (again, True)
    names = [(f"fer-{room}", epoch) for room, epoch in ((1, "1"), (2, "2"), (2, "3"))]
    for _ in range(2):
        assert [(store.name_of(s)[0].agent, store.name_of(s)[1]) for s in (one, two, other)] == names
    assert [count(engine, f"SELECT count(*) FROM {table}") for table in ("agents", "streams", "windows")] == [2, 3, 4]


def test_prune_does_not_believe_a_wrong_clock(engine: Engine) -> None:
    """Windows of a device that does not know the time, or is years ahead, go when they were received long ago."""
    store = Store(engine)
    lost, ahead = {"synced": False, "source": None}, NOW_MS + 70 * 365 * 24 * 60 * MINUTE

    def odd(seq: int, end_ms: int, clock: dict[str, Any]) -> Message:
        return parse_message(topic_of(1), window_of(1, seq, end_ms, clock=clock))

    synced = {"synced": True, "source": "ntp"}
    store.write([odd(1, 3_600_000, lost), odd(2, ahead, lost), odd(3, ahead, synced)], NOW_MS)
    refresh_hours(engine)
    assert (prune(engine, NOW_MS - MINUTE), count(engine, "SELECT sum(windows) FROM hours")) == (0, 3)
    assert prune(engine, NOW_MS + 120 * MINUTE) == 3
    refresh_hours(engine)
    assert count(engine, "SELECT sum(windows) FROM hours") == 0


def test_prune_believes_a_synchronised_device_more_than_its_own_clock_of_then(engine: Engine) -> None:
    """A collector without a battery-backed clock starts months in the past: what it stores before its clock is set is
    deleted when it is old, not an hour later."""
    now, day = int(time.time() * 1000), 24 * 60 * MINUTE
    Store(engine).write([parse_message(topic_of(1), window_of(1, n, now - n * day)) for n in (1, 40)], now - 100 * day)
    assert prune(engine, now - 30 * day) == 1
    assert count(engine, "SELECT seq FROM windows") == 1


def test_prune_makes_the_hour_of_its_limit_again(engine: Engine) -> None:
    """An hour that was pruned in part is the mean of what is left."""
    store = Store(engine)
    store.write([window(1, n) for n in range(1, 60)], NOW_MS + 60 * MINUTE)
    refresh_hours(engine)
    prune(engine, NOW_MS + 30 * MINUTE)
    refresh_hours(engine)
    assert count(engine, "SELECT windows FROM hours") == count(engine) == 30


def test_prune_takes_old_rooms_off_the_page(engine: Engine) -> None:
    """A result older than the limit goes from the page; so does the room of which nothing was heard since."""
    store, hub, day = Store(engine), Hub(engine), 24 * 60 * MINUTE
    status = {"state": "ready", "session": 1}
    other = parse_message(topic_of(2, "status"), json.dumps(status).encode())
    store.write([window(1, 1), message("status", **status), window(2, 1), other], NOW_MS)
    store.write([message("health", fps=1.0)], NOW_MS + 2 * day)
    hub._poll()
    prune(engine, NOW_MS + day)
    hub._poll()
    assert [(r["agent"], r["window"], r["trend"]) for r in hub.rooms] == [("fer-1", None, [])]


def year_of(engine: Engine) -> dict[str, Any]:
    refresh_hours(engine)
    day = 24 * 60 * MINUTE
    return History(engine).series(1, Span(NOW_MS - 300 * day, NOW_MS + day))


def test_hours_without_a_number_do_not_dilute_its_mean(engine: Engine) -> None:
    """Half a day with valence and half without: the year's mean is that of the windows that have one."""
    alone = dict.fromkeys(("valence", "arousal", "expressivity", "shares"))
    start = NOW_MS // (12 * 60 * MINUTE) * 12 * 60 * MINUTE
    bodies = [window_of(1, n, start + n * 10 * MINUTE, **({"valence": 0.5} if n < 36 else alone)) for n in range(1, 71)]
    Store(engine).write([parse_message(topic_of(1), body) for body in bodies], NOW_MS)
    found = year_of(engine)
    assert (found["results"], found["valence"]) == ([70], [0.5])


def test_one_hour_that_cannot_be_made_stops_no_other(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Numbers too great for a mean, as older versions took them: one line, and every other hour is made; once."""
    store = Store(engine)
    store.write([window(1, 1), window(1, 2), *(window(room, 1) for room in range(2, 9))], NOW_MS)
    with engine.begin() as connection:
        connection.execute(text("UPDATE windows SET ci_low = -1e308, ci_high = 1e308 WHERE agent_id = 1"))
    found = year_of(engine)
    assert json.dumps(found, allow_nan=False)
    assert count(engine, "SELECT count(*) FROM hours WHERE agent_id > 1") == 7
    assert count(engine, "SELECT count(*) FROM stale_hours") == 0
    assert caplog.text.count("event=hour.not_made") == (engine.dialect.name == "postgresql")


def test_newer_schema_is_refused(database_url: str) -> None:
    """A database of a later version is left alone."""
    engine = open_database(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    with pytest.raises(ConfigError, match="99"):
        open_database(database_url)
    engine.dispose()


def test_reader_cannot_write(database_url: str) -> None:
    """The page's connection is read-only in the database itself."""
    open_database(database_url).dispose()
    reader = open_database(database_url, read_only=True)
    with pytest.raises(Exception, match=r"(?i)read-?only"), reader.begin() as connection:
        connection.execute(text("DELETE FROM windows"))
    reader.dispose()


@pytest.mark.parametrize("url", ["nonsense", "mysql://a/b", "sqlite://"])
def test_url_that_makes_no_sense(url: str) -> None:
    """Any other database is a configuration error that says what was expected."""
    with pytest.raises(ConfigError, match="expected"):
        open_database(url)


def test_absent_server_names_no_password() -> None:
    """A server that is not there is reported without the password of its URL."""
    with pytest.raises(UnavailableError) as caught:
        open_database("postgresql://fer:geheim@127.0.0.1:1/fer")
    assert "geheim" not in str(caught.value)


EXTREMES: list[Any] = [
    *(
        0,
        -1,
        2**31,
        2**53,
        2**63 - 1,
        2**63,
        10**400,
        -(10**400),
        1e308,
        -1e308,
        5e-324,
        True,
        None,
        [],
        {},
        [1],
        {"a": 1},
    ),
    *("", "\x00", "\ud800", "\udfff", "\u202e", "x" * 200, "x" * 201, "'; DROP TABLE windows; --", "%s", "{}", "\\"),
]
BODIES: dict[str, Any] = {
    "window": json.loads(window_of(1, 1, NOW_MS)),
    "status": {"state": "ready", "reason": "r", "session": 1, "boot_id": "b", "epoch": "1", "newest_seq": 1},
    "meta": {"version": "1", "model": {"id": "m", "backend": "b"}, "window_s": 60.0, "k_min": 5},
    "health": {
        "at_ms": 1,
        "fps": 1.0,
        "stages": {"detect": {"p50": 1.0, "p95": 2.0}},
        "spool_windows": 1,
        "rss_mb": 1.0,
    },
    "event": {"kind": "camera", "reason": "r", "detail": "d", "at_ms": 1},
    "event ": {"kind": "gap", "from": 1, "to": 2, "epoch": "1", "reason": "cap", "at_ms": 1},
    "rsp/resend": {"ok": True},
}


def changed(body: Any) -> Iterator[Any]:
    """`body` with each of its values, however deep, replaced by each extreme."""
    for key, value in body.items():
        yield from (body | {key: extreme} for extreme in EXTREMES)
        if isinstance(value, dict):
            yield from (body | {key: inner} for inner in changed(value))


def test_whatever_is_taken_can_be_stored_and_shown(engine: Engine) -> None:
    """With any value in any field a message is refused, or it is stored and the page can read it."""
    store, taken = Store(engine), 0
    for kind, body in BODIES.items():
        for odd in changed(body):
            with contextlib.suppress(Refused):
                store.write([parse_message(topic_of(1, kind.strip()), json.dumps(odd).encode())], NOW_MS)
                taken += 1
    assert taken > 150
    assert json.dumps([dict(row._mapping) for row in Hub(engine).newest()[1]])
    assert History(engine).happenings(1, Span(0, 2**53 - 1))["events"]
