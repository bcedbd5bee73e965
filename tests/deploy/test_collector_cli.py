"""The commands of `fer-collector`: export, prune, and one line for what is wrong."""

import csv
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from agent.errors import ConfigError
from deploy.collector.bench.lessons import suppressed_window, topic_of, window_of
from deploy.collector.cli import cli, main
from deploy.collector.database import open_database
from deploy.collector.messages import parse_message
from deploy.collector.options import broker_address
from deploy.collector.store import Store
from tests.deploy.conftest import NOW_MS

MINUTE = 60_000
DAY_MS = 24 * 3_600_000


@pytest.fixture
def filled(database_url: str) -> str:
    """Two rooms with ten windows each, two of them suppressed; one model has a formula for a name."""
    engine = open_database(database_url)
    evil = {"id": "=HYPERLINK(1)", "sha256": None, "backend": "@x"}
    for room in (1, 2):
        bodies = [window_of(room, n, NOW_MS + n * MINUTE, model=evil) for n in range(1, 9)]
        bodies += [suppressed_window(room, n, NOW_MS + n * MINUTE) for n in (9, 10)]
        Store(engine).write([parse_message(topic_of(room), body) for body in bodies], NOW_MS + 10 * MINUTE)
    engine.dispose()
    return database_url


def call(*arguments: str) -> str:
    """Run a command that works; return what it said."""
    done = CliRunner().invoke(cli, arguments)
    assert done.exception is None, done.output
    return done.output


def commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        inner = commands(command, (*words, name)) if isinstance(command, click.Group) else [(*words, name)]
        found += inner
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_shows_an_example(words: tuple[str, ...]) -> None:
    """Every command explains itself, with an example that starts with its own name."""
    assert f"Example: fer-collector {' '.join(words)}" in re.sub(r"\s+", " ", call(*words, "--help"))


def test_csv(filled: str, tmp_path: Path) -> None:
    """A CSV has every window once, nothing where nothing was measured, and no cell that a spreadsheet would run."""
    call("export", "--db", filled, str(tmp_path / "all.csv"))
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["agent"], row["seq"]) for row in rows] == [(f"fer-{r}", str(n)) for r in (1, 2) for n in range(1, 11)]
    assert {row["engagement"] for row in rows if row["suppressed"]} == {""}
    assert "not validated as a measure of learning" in list(rows[0])[-1]
    assert rows[0]["model_id"] == "'=HYPERLINK(1)"
    assert rows[0]["backend"] == "'@x"


def test_parquet(filled: str, tmp_path: Path) -> None:
    """A Parquet file has the same windows with their types."""
    parquet = pytest.importorskip("pyarrow.parquet")
    call("export", "--db", filled, "--room", "school-0/room-3/fer-2", str(tmp_path / "one.parquet"))
    table = parquet.read_table(tmp_path / "one.parquet")
    assert table["seq"].to_pylist() == list(range(1, 11))
    assert table["engagement"].null_count == 2
    assert (str(table.schema.field("end_ms").type), str(table.schema.field("coverage").type)) == ("int64", "double")


def test_span_of_an_export(filled: str, tmp_path: Path) -> None:
    """--from is included, --to is not."""
    import datetime

    def iso(minute: int) -> str:
        return datetime.datetime.fromtimestamp((NOW_MS + minute * MINUTE) / 1000, datetime.UTC).isoformat()

    call("export", "--db", filled, "--from", iso(3), "--to", iso(5), str(tmp_path / "part.csv"))
    with (tmp_path / "part.csv").open(newline="") as file:
        assert [row["seq"] for row in csv.DictReader(file)] == ["3", "4", "3", "4"]


def test_prune(filled: str) -> None:
    """Windows older than asked for are deleted, and the count is said."""
    keep = (time.time() * 1000 - NOW_MS - 5.5 * MINUTE) / DAY_MS
    if keep < 1:
        pytest.skip("this test's windows are not old enough yet")
    assert call("prune", "--db", filled, "--keep-days", str(keep)) == "deleted 10 windows\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["export", "w.xls"], 2, "FILE: expected a name that ends in .csv or .parquet"),
        (["export", "--from", "yesterday", "w.csv"], 2, "expected a date or time like 2026-09-01"),
        (
            ["export", "--from", "2027-02-01", "--to", "2026-09-01", "w.csv"],
            2,
            "expected the earlier time first, and none before 1970, got 2027-02-01 and 2026-09-01",
        ),
        (["export", "--to", "1969-09-01", "w.csv"], 2, "none before 1970, got no --from and 1969-09-01"),
        (["export", "--db", "sqlite:////nonexistent/w.db", "w.csv"], 69, "database"),
        (["export", "--db", "oracle://x", "w.csv"], 78, "expected sqlite or postgresql"),
        (["serve", "--listen", "8080"], 2, "--listen: expected HOST:PORT"),
        (["serve", "--tls-key", "/etc/passwd"], 2, "--tls-cert and --tls-key: expected both or none"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is one line that says what was expected, and an exit code of its own."""
    monkeypatch.setattr(sys, "argv", ["fer-collector", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == code
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert says in lines[-1]


def test_prune_makes_no_database(tmp_path: Path) -> None:
    """A path without a database, or with one of something else, is named; nothing is made there."""
    import sqlite3

    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (n)").connection.close()
    for path in (tmp_path / "typo" / "w.db", other):
        done = CliRunner().invoke(cli, ["prune", "--db", f"sqlite:///{path}", "--keep-days", "400"])
        assert (done.exit_code, "expected" in done.output) == (66, True), done.output
    assert not (tmp_path / "typo").exists()
    assert sqlite3.connect(other).execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_failed_export_leaves_the_one_before(sqlite_url: str, tmp_path: Path, kind: str) -> None:
    """A database that breaks half-way is exit code 69; the file of last time is as it was, and nothing lies beside."""
    engine = open_database(sqlite_url)
    bodies = [window_of(1, n, NOW_MS + n * MINUTE) for n in range(1, 7001)]
    Store(engine).write([parse_message(topic_of(1), body) for body in bodies], NOW_MS)
    engine.dispose()
    database, folder = tmp_path / "windows.db", tmp_path / "exports"
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) * 3 // 4] + b"\xa5" * (len(whole) - len(whole) * 3 // 4))
    folder.mkdir()
    (folder / f"term.{kind}").write_text("the last good one")
    done = CliRunner().invoke(cli, ["export", "--db", sqlite_url, str(folder / f"term.{kind}")])
    assert (done.exit_code, "is as it was" in done.output) == (69, True), done.output
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(f"term.{kind}", "the last good one")]


def test_a_day_that_no_clock_can_name(tmp_path: Path) -> None:
    """A time that another zone would put past the last year is wrong use, not a flaw of ours."""
    command = [sys.executable, "-m", "deploy.collector", "export", "--to", "9999-12-31T23:30", str(tmp_path / "w.csv")]
    import os

    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TZ": "America/New_York"})
    assert (done.returncode, "expected a date or time" in done.stderr) == (2, True), done.stderr


def options(**more: Any) -> dict[str, Any]:
    """What click gives for a `run` with these options about the broker."""
    nothing = {"tls": False, "ca_file": None, "name": "1", "share": None, "port": 1883, "username": None}
    nothing["mqtt_version"] = "5"
    return {"host": "127.0.0.1", **nothing, **more}


def test_first_line_of_the_password_file(tmp_path: Path) -> None:
    """A password file written on Windows has the same password, with a byte order mark, too; an empty line is none."""
    file = tmp_path / "password"
    for encoding in ("utf-8", "utf-8-sig"):
        file.write_bytes("gehe\u00efm \r\nmore\r\n".encode(encoding))
        assert broker_address(options(password_file=file)).password == "gehe\u00efm "
    file.write_text("\nsecret\n")
    with pytest.raises(ConfigError, match="first line"):
        broker_address(options(password_file=file))


@pytest.mark.parametrize(("host", "warned"), [("broker.invalid", 1), ("127.0.0.1", 0), ("localhost", 0)])
def test_password_in_clear_is_said(tmp_path: Path, host: str, warned: int, caplog: pytest.LogCaptureFixture) -> None:
    """A password that leaves the machine without TLS is a warning."""
    file = tmp_path / "password"
    file.write_text("secret")
    broker_address(options(host=host, username="u", password_file=file))
    assert caplog.text.count("event=broker.password_in_clear") == warned
    assert "secret" not in caplog.text


def test_dead_thread_ends_the_process(tmp_path: Path) -> None:
    """A collector whose connection's thread died does not live on collecting nothing."""
    lines = (
        "from deploy.collector.broker import Address",
        "from deploy.collector.service import collect",
        f"collect(Address(host='a..b'), 'sqlite:///{tmp_path}/w.db', None, None)",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "the thread that talks to the broker died of UnicodeError" in done.stderr.splitlines()[-1]


def test_unknown_room(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that is not there is named, with exit code 66."""
    monkeypatch.setattr(sys, "argv", ["x", "export", "--db", filled, "--room", "a/b/c", str(tmp_path / "w.csv")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 66


def test_bench_never_touches_a_database_in_use(filled: str) -> None:
    """The benchmark that fills a database, and deletes it afterwards, wants an empty one."""
    done = CliRunner().invoke(cli, ["bench", "queries", "--db", filled, "--windows", "1000"])
    assert done.exit_code == 2
    assert "expected an empty database" in done.output
    engine = open_database(filled)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM windows").scalar_one() == 20


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--db", "postgresql://h:port/x"], 78, "expected a number as the port"),
        (["--db", "sqlite:///{noise}"], 78, "file is not a database"),
        (["--host", ""], 2, "--host: expected"),
        (["--host", "mqtt://user:secret@b"], 2, "options of their own), got 'mqtt://b'"),
        (["--host", "a..b"], 2, "--host: expected the name or address of a host, got 'a..b'"),
        (["--listen", "a..b:8080"], 2, "--listen: expected the name or address of a host, got 'a..b'"),
        (["--listen", "127.0.0.1:\u00b2"], 2, "--listen: expected HOST:PORT"),
        (["--ca-file", "{noise}"], 2, "--ca-file: expected --tls beside it"),
        (["--password-file", "{noise}"], 78, "--password-file: expected text in UTF-8"),
        (["--password-file", "/dev/null"], 78, "--password-file: expected"),
        (["--share", "a/+"], 2, "--share: expected"),
        (["--tls", "--ca-file", "{noise}"], 78, "--ca-file: expected a PEM certificate"),
        (["--tls-cert", "{noise}", "--tls-key", "{noise}"], 78, "--tls-cert: expected a PEM certificate"),
        (["--token-file", "{noise}"], 78, "expected text, got byte"),
        (["--keep-days", "nan"], 2, "'nan' is not a number"),
        (["--keep-days", "1e300"], 2, "is not in the range"),
    ],
)
def test_what_run_cannot_use_is_named(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    """A database, broker, certificate, token or number that cannot be used: one line about it, and its exit code."""
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(255, 0, -1)) * 20)
    given = [argument.format(noise=noise) for argument in arguments]
    defaults = ["--db", f"sqlite:///{tmp_path}/w.db", "--listen", "127.0.0.1:1", "--token-file", f"{tmp_path}/token"]
    done = CliRunner().invoke(cli, ["run", *defaults, *given])
    assert says in done.output
    assert done.exit_code == code


@pytest.mark.parametrize(("rate", "says"), [("nan", "'nan' is not a number"), ("-1", "is not in the range")])
def test_a_rate_that_is_none_is_refused(rate: str, says: str) -> None:
    """`bench ingest --rate` takes numbers from 0 on; nothing is started for another."""
    done = CliRunner().invoke(cli, ["bench", "ingest", "--rate", rate])
    assert says in done.output
    assert done.exit_code == 2
