"""Options → where the broker is and where to listen; what cannot be meant is refused before anything is started."""

import contextlib
import ipaddress
import logging
import os
import re
from pathlib import Path
from typing import Any

from agent.config import HOST
from agent.config.words import without_login
from agent.errors import ConfigError, UsageError
from deploy.collector.broker import Address

log = logging.getLogger("fer.collector")


def broker_address(options: dict[str, Any]) -> Address:
    """Return what `run` was told of the broker. Raises UsageError, and ConfigError for a password file."""
    file: Path | None = options["password_file"]
    password = _first_line(file) if file else os.environ.get("FER_MQTT_PASSWORD")
    names = ("host", "port", "username", "tls", "ca_file", "name", "share")
    if not re.match(HOST, host := options["host"]):
        what = "a name or an address alone (--port, --username and --password-file are options of their own)"
        raise UsageError(f"--host: expected {what}, got {without_login(host)!r}")
    _check_host("--host", host)
    if options["ca_file"] and not options["tls"]:
        raise UsageError("--ca-file: expected --tls beside it, got a connection that would not be encrypted; give both")
    if password and options["username"] and not options["tls"] and not _is_local(options["host"]):
        log.warning("event=broker.password_in_clear host=%s action='give --tls'", options["host"])
    for option in ("name", "share"):
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", options[option] or "none"):
            raise UsageError(f"--{option}: expected up to 64 letters, digits, -, _ or ., got {options[option]!r}")
    if options["share"] and options["mqtt_version"] != "5":
        raise UsageError("--share: expected MQTT 5, got --mqtt-version 3.1.1, which has no groups; leave one out")
    return Address(password=password, version=options["mqtt_version"], **{name: options[name] for name in names})


def _first_line(file: Path) -> str:
    first, *_ = file.read_bytes().splitlines() or [b""]
    try:
        line = first.decode("utf-8-sig")  # Windows' Notepad may begin a file with a byte order mark
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x}"
        raise ConfigError(f"--password-file: expected text in UTF-8 in {file}, got {found}") from None
    if not line:
        raise ConfigError(f"--password-file: expected the password in the first line of {file}, got an empty line")
    return line


def _check_host(option: str, host: str) -> None:
    """Raise UsageError for a name that no resolver takes: it would end the thread that asks, not the question."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise UsageError(f"{option}: expected the name or address of a host, got {host[:80]!r}") from None


def _is_local(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


def host_port(listen: str) -> tuple[str, int]:
    """Return (host, port) of --listen. Raises UsageError."""
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise UsageError(f"--listen: expected HOST:PORT, got {listen!r}")
    _check_host("--listen", host)
    return host, int(port)
