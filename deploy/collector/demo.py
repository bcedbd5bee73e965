"""`fer-collector demo`: a broker, rooms that do not exist, a collector and its page; they end together."""

import logging
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from agent import config
from agent.delivery.embedded import EmbeddedBroker
from agent.errors import UnavailableError
from agent.simulation.rooms import SimulatedRooms
from deploy.collector.access import read_token
from deploy.collector.bench.lessons import running_broker
from deploy.collector.broker import Address
from deploy.collector.database import open_database
from deploy.collector.service import PageSettings, collecting, serve_page
from deploy.collector.tally import Tally


def run_demo(rooms: int, speed: float, listen: tuple[str, int], folder: Path | None) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; then the broker is gone, and without `folder` so is the data."""
    _end_in_order()
    logging.getLogger().setLevel(logging.WARNING)  # every room would tell that it is up
    with ExitStack() as stack:
        home = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fer-demo-")))
        home.mkdir(parents=True, exist_ok=True)
        port = stack.enter_context(_broker())
        database = f"sqlite:///{home}/windows.db"
        tally = Tally()
        ingest = stack.enter_context(collecting(Address(port=port, name="demo"), open_database(database), tally))
        mqtt = config.Mqtt(host="127.0.0.1", port=port)
        stack.enter_context(SimulatedRooms(mqtt, rooms, speed=speed))
        page = PageSettings(*listen, token_file=home / "token")
        _say_where(page, rooms)
        serve_page(open_database(database, read_only=True), page, tally, ingest)


def _end_in_order() -> None:
    """From here on what would end the process ends it as Ctrl-C does: what was started is stopped, and cleared away."""

    def interrupt(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut the clearing away short
        raise KeyboardInterrupt

    def closed(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        signal.raise_signal(signal.SIGTERM)  # the page's server has its own way to end by that, while it runs

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` wants it to stay
        signal.signal(signal.SIGHUP, closed)


@contextmanager
def _broker() -> Iterator[int]:
    """Yield the port of mosquitto where it is installed, else of the broker that comes as a wheel."""
    with ExitStack() as stack:
        try:
            port = stack.enter_context(running_broker())
        except UnavailableError:
            port = stack.enter_context(EmbeddedBroker()).port
        yield port


def _say_where(page: PageSettings, rooms: int) -> None:
    url = f"http://{page.host}:{page.port}/login#{read_token(page.token_file)}"
    click.echo(f"{rooms} simulated rooms tell their last eight hours, then go on in real time.", err=True)
    click.echo(f"Open {url}   (Ctrl-C ends it)", err=True)
