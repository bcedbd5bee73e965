"""Wires a running collector: the ingest's thread beside the page's event loop, ended together by SIGTERM."""

import ipaddress
import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from agent.device.signals import on_end
from agent.errors import ConfigError, FerAgentError, UnavailableError
from deploy.collector.access import Door, read_token
from deploy.collector.broker import Address, Broker
from deploy.collector.connections import Connection, Listener
from deploy.collector.database import open_database
from deploy.collector.ingest import Ingest
from deploy.collector.prune import prune
from deploy.collector.store import Store
from deploy.collector.tally import Tally
from deploy.collector.troubles import Collecting
from deploy.collector.web import Page

log = logging.getLogger("fer.collector")


@dataclass(frozen=True, slots=True)
class PageSettings:
    """Where the page is served."""

    host: str
    port: int
    token_file: Path
    tls_cert: str | None = None
    tls_key: str | None = None


def collect(address: Address, db: str, page: PageSettings | None, keep_days: float | None) -> None:
    """Run a collector until SIGTERM or SIGINT. A database that is not there yet is waited for."""
    engine = _patient_open(db)
    tally = Tally()
    with collecting(address, engine, tally, keep_days) as ingest:
        if page is not None:
            serve_page(open_database(db, read_only=True), page, tally, ingest)
        else:
            _wait_for_signal()


def show(db: str, page: PageSettings) -> None:
    """Serve the page until SIGTERM or SIGINT."""
    serve_page(open_database(db, read_only=True), page, None)


def serve_page(engine: Engine, settings: PageSettings, tally: Tally | None, ingest: Collecting | None = None) -> None:
    """Serve until a signal. Open event streams get a second to end. Raises UnavailableError if the port is taken."""
    door = Door(read_token(settings.token_file))
    _check_certificate(settings)
    app = Page(engine, door, tally, ingest).app()
    config = uvicorn.Config(
        app,
        http=Connection,
        loop="asyncio",  # another one takes connections past `Listener`
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=1,
        server_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    server = uvicorn.Server(config)
    with _listening(settings) as listener, _signals_end_the_server_only(server):
        server.run(sockets=[listener])


def _check_certificate(settings: PageSettings) -> None:
    """Raise ConfigError for a certificate or key that the server could not use."""
    if settings.tls_cert is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:  # ssl.SSLError is one
        where = f"{settings.tls_cert} and {settings.tls_key}"
        raise ConfigError(f"--tls-cert: expected a PEM certificate with its key at {where}, got: {error}") from error


def _listening(settings: PageSettings) -> Listener:
    host, port = settings.host.strip("[]"), settings.port
    scheme = "https" if settings.tls_cert else "http"
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UnavailableError(
            f"page: cannot listen on {host}:{port}: {error.strerror}; give another --listen"
        ) from error
    log.info("event=page.serving url=%s://%s:%d token_file=%s", scheme, settings.host, port, settings.token_file)
    if settings.tls_cert is None and not ipaddress.ip_address(address[0]).is_loopback:
        log.warning("event=page.plain_http action='give --tls-cert and --tls-key, or put a TLS proxy in front'")
    return Listener(listener)


@contextmanager
def _signals_end_the_server_only(server: uvicorn.Server) -> Iterator[None]:
    """The server raises its signal again when it is down; what stands around it must still end in order. It takes
    signals only once it runs: one that comes before that must not get lost."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, server.handle_exit) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _patient_open(db: str) -> Engine:
    told = False
    while True:
        try:
            return open_database(db)
        except UnavailableError as error:
            if not told:
                log.error("event=database.away reason=%r", str(error))
                told = True
            time.sleep(2)


@contextmanager
def collecting(address: Address, engine: Engine, tally: Tally, keep_days: float | None = None) -> Iterator[Ingest]:
    """Collect in a thread until the end of the block. If the thread breaks, SIGTERM ends the block, and this raises."""
    with Broker(address) as broker:
        ingest = Ingest(broker, Store(engine), tally)
        end = partial(os.kill, os.getpid(), signal.SIGTERM)
        worker = threading.Thread(target=ingest.work, args=(end,), name="ingest", daemon=True)
        worker.start()
        if keep_days is not None:
            threading.Thread(target=_prune_hourly, args=(engine, keep_days), name="prune", daemon=True).start()
        try:
            yield ingest
        finally:
            ingest.stop()
            worker.join(timeout=10)
            log.info("event=collector.stopped stored=%s refused=%s", tally.snapshot().get("stored", 0), tally.refused())
            if isinstance(ingest.failure, FerAgentError):
                raise ingest.failure
            if ingest.failure is not None:
                raise FerAgentError(f"collector: {type(ingest.failure).__name__} in the ingest") from ingest.failure


def _prune_hourly(engine: Engine, keep_days: float) -> None:
    while True:
        try:
            if deleted := prune(engine, int((time.time() - keep_days * 86_400) * 1000)):
                log.info("event=windows.pruned count=%d", deleted)
        except SQLAlchemyError:
            log.warning("event=prune.failed action='again in an hour'")
        except Exception:  # a flaw of ours must not end in silence what was promised to the people in the room
            log.exception("event=prune.failed action='again in an hour'")
        time.sleep(3600)


def _wait_for_signal() -> None:
    ended = threading.Event()
    on_end(ended.set)
    ended.wait()
