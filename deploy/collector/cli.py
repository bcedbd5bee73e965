"""The command line `fer-collector`."""

import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from agent.cli._ending import Program, run_program
from agent.cli._options import Number, mqtt_version
from agent.errors import CannotWriteError, InputError, UnavailableError, UsageError, first_line
from deploy.collector.options import broker_address, host_port

_DEFAULT_DB = "sqlite:////var/lib/fer-collector/windows.db"
_DEFAULT_TOKEN = Path("/var/lib/fer-collector/token")
_DAYS = Number(1, 36_500)
_INPUT = click.Path(exists=True, dir_okay=False, path_type=Path)


def _database(command: Any) -> Any:
    return click.option(
        "--db", default=_DEFAULT_DB, show_default=True, help="sqlite:////PATH or postgresql://user@host/name"
    )(command)


def _page(command: Any) -> Any:
    for option in (
        click.option("--listen", default="127.0.0.1:8080", show_default=True, help="Address and port of the page."),
        click.option(
            "--token-file",
            type=click.Path(path_type=Path, dir_okay=False),
            default=_DEFAULT_TOKEN,
            show_default=True,
            help="Its first line is the token for the page; made new if missing.",
        ),
        click.option(
            "--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Certificate of the page; needs --tls-key."
        ),
        click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="Private key of the page."),
    ):
        command = option(command)
    return command


def _broker(command: Any) -> Any:
    for option in (
        click.option("--host", default="127.0.0.1", show_default=True, help="MQTT broker."),
        click.option("--port", default=1883, show_default=True, type=click.IntRange(1, 65535)),
        mqtt_version,
        click.option("--username", help="MQTT user."),
        click.option("--password-file", type=_INPUT, help="First line: password."),
        click.option("--tls", is_flag=True, help="Talk TLS to the broker."),
        click.option("--ca-file", type=_INPUT, help="Who signed its certificate."),
        click.option("--name", default="1", show_default=True, help="This collector's own name."),
        click.option("--share", help="Name of a group of collectors that share the work."),
    ):
        command = option(command)
    return command


def _scratch(command: Any) -> Any:
    for option in (
        click.option("--db", help="Where to write; a fresh SQLite file without it."),
        click.option("--postgres", is_flag=True, help="A fresh PostgreSQL, started for this."),
    ):
        command = option(command)
    return command


@click.group(
    cls=Program, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FER_COLLECTOR"}
)
def cli() -> None:
    """Collect what the rooms publish, keep it, show it.

    The index is a facial-expression proxy, not validated as a measure of learning or attention. Every option can
    come from the environment: --db of `run` is FER_COLLECTOR_RUN_DB.
    """


@cli.command()
@_broker
@_database
@_page
@click.option("--no-page", is_flag=True, help="Only collect; show the page with `fer-collector serve`.")
@click.option("--keep-days", type=_DAYS, help="Delete windows older than this, once an hour.")
def run(no_page: bool, db: str, keep_days: float | None, **options: Any) -> None:
    """Collect, and serve the page.

    Example: fer-collector run --host broker.school --db postgresql://fer@/fer --listen 127.0.0.1:8080
    """
    from deploy.collector.service import collect

    page = None if no_page else _page_settings(options)
    collect(broker_address(options), db, page, keep_days)


@cli.command()
@_database
@_page
def serve(db: str, **options: Any) -> None:
    """Serve the page only, from a database that collectors write.

    Example: fer-collector serve --db postgresql://reader@/fer --listen 127.0.0.1:8081
    """
    from deploy.collector.service import show

    show(db, _page_settings(options))


@cli.command()
@_database
@click.option("--from", "start", help="First day or time, ISO 8601; local unless it says otherwise.")
@click.option("--to", "end", help="End, not included.")
@click.option("--room", help="SITE/ROOM/AGENT; all rooms without it.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def export(db: str, start: str | None, end: str | None, room: str | None, file: Path) -> None:
    """Write windows to FILE.csv or FILE.parquet.

    Example: fer-collector export --from 2026-09-01 --to 2027-02-01 term.parquet
    """
    from sqlalchemy.exc import SQLAlchemyError

    from deploy.collector.database import open_database
    from deploy.collector.export import write_file
    from deploy.collector.history import History, Span
    from deploy.collector.messages import Source

    if file.suffix not in (".csv", ".parquet"):
        raise UsageError(f"FILE: expected a name that ends in .csv or .parquet, got {file.name!r}")
    first, last = _millis(start, 0), _millis(end, 2**53 - 1)
    if not 0 <= first < last:
        got = f"{start or 'no --from'} and {end or 'no --to'}"
        raise UsageError(f"--from and --to: expected the earlier time first, and none before 1970, got {got}")
    span = Span(first, last)
    engine = open_database(db, read_only=True)
    agent = None
    if room is not None:
        names = room.split("/")
        agent = History(engine).agent_id(Source(*names)) if len(names) == 3 else None
        if agent is None:
            raise InputError(f"--room: expected SITE/ROOM/AGENT of a known room, got {room[:80]!r}")
    try:
        write_file(engine, span, file, agent)
    except OSError as error:
        raise CannotWriteError(f"{file}: {error.strerror}") from error
    except SQLAlchemyError as error:
        reason = first_line(getattr(error, "orig", None) or error)
        raise UnavailableError(f"database: {reason}; {file} is as it was") from error
    click.echo(f"wrote {file}", err=True)


@cli.command()
@_database
@click.option("--keep-days", type=_DAYS, required=True, help="Delete windows older than this.")
def prune(db: str, keep_days: float) -> None:
    """Delete old windows and events: what is not needed any more must not be kept.

    Example: fer-collector prune --keep-days 400
    """
    from deploy.collector.database import open_database
    from deploy.collector.prune import prune as delete_old

    before = int((time.time() - keep_days * 86_400) * 1000)
    click.echo(f"deleted {delete_old(open_database(db, create=False), before)} windows")


@cli.command()
@click.option("--rooms", default=12, show_default=True, type=click.IntRange(1, 1000), help="Simulated rooms.")
@click.option(
    "--speed",
    default=240.0,
    show_default=True,
    type=Number(1, 600),
    help="How fast the last eight hours are told, times real time; after them it goes on in real time.",
)
@click.option("--listen", default="127.0.0.1:8080", show_default=True, help="Address and port of the page.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Keep the data here.")
def demo(rooms: int, speed: float, listen: str, folder: Path | None) -> None:
    """Start a broker, simulated rooms, a collector and the page, until Ctrl-C, or until its terminal is closed.

    Example: fer-collector demo --rooms 20
    """
    from deploy.collector.demo import run_demo

    run_demo(rooms, speed, host_port(listen), folder)


@cli.group()
def bench() -> None:
    """Measure this machine, and compare with what was promised."""


@bench.command("ingest")
@_scratch
@click.option("--seconds", default=20.0, show_default=True, type=Number(min=2))
@click.option("--rooms", default=1000, show_default=True, type=click.IntRange(min=1))
@click.option("--rate", default=0.0, type=Number(min=0), help="Windows per second to send; 0 is as fast as it goes.")
def bench_ingest(db: str | None, postgres: bool, seconds: float, rooms: int, rate: float) -> None:
    """Windows per second through broker, collector and database.

    Example: fer-collector bench ingest --seconds 20
    """
    from deploy.collector.bench.ingest import measure
    from deploy.collector.bench.scratch_postgres import some_database

    with some_database(db, postgres) as url:
        measure(url, seconds, rooms, rate)


@bench.command("latency")
@_scratch
@click.option("--seconds", default=30.0, show_default=True, type=Number(min=5))
@click.option("--rooms", default=200, show_default=True, type=click.IntRange(min=1))
def bench_latency(db: str | None, postgres: bool, seconds: float, rooms: int) -> None:
    """From a window's end to the event on the page, with every room sending a window per second.

    Example: fer-collector bench latency --rooms 200
    """
    from deploy.collector.bench.latency import measure
    from deploy.collector.bench.scratch_postgres import some_database

    with some_database(db, postgres) as url:
        measure(url, seconds, rooms)


@bench.command("queries")
@_scratch
@click.option("--windows", default=200_000, show_default=True, type=click.IntRange(min=1000))
@click.option("--rooms", default=1000, show_default=True, type=click.IntRange(min=2))
def bench_queries(db: str | None, postgres: bool, windows: int, rooms: int) -> None:
    """Every query of the page on a long history.

    Example: fer-collector bench queries --windows 10000000
    """
    from deploy.collector.bench.queries import measure
    from deploy.collector.bench.scratch_postgres import some_database

    with some_database(db, postgres) as url:
        measure(url, windows, rooms)


def _page_settings(options: dict[str, Any]) -> Any:
    from deploy.collector.service import PageSettings

    if bool(options["tls_cert"]) != bool(options["tls_key"]):
        raise UsageError("--tls-cert and --tls-key: expected both or none")
    host, port = host_port(options["listen"])
    return PageSettings(host, port, options["token_file"], options["tls_cert"], options["tls_key"])


def _millis(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(f"expected a date or time like 2026-09-01 or 2026-09-01T08:00, got {text!r}") from None


def main() -> None:
    """Run the program: an error is one line on stderr and an exit code, never a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    run_program(cli, "fer-collector")
