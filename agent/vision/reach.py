"""Is a network camera there at all? Looks its name up and connects once, so that each fault has words of its own.

FFmpeg, which opens the stream, tells nobody why it could not.
"""

import errno
import os
import re
import socket
import time
from typing import Any, Final

from agent.config_words import without_login
from agent.errors import UnavailableError

_PORTS: Final = {"rtsp": 554, "http": 80, "https": 443}
_ADDRESS: Final = re.compile(
    r"(?P<scheme>rtsp|https?)://(?:[^/?#]*@)?(?P<host>\[[^\]]*\]|[^/?#:]*)(?::(?P<port>\d*))?(?:[/?#]|$)", re.IGNORECASE
)
"""As FFmpeg divides an address: the login ends at the last "@" before the first "/", "?" or "#"."""


def place(source: str) -> tuple[str, int] | None:
    """Return (host, port) of a camera's address; None where a connection of our own would prove nothing.

    That is so of other schemes (udp, rtmp), behind a proxy, and of an address of which it is not sure what is its host
    and what its login (a "/" that nobody escaped): that login must not be shown.
    """
    found, shown = _ADDRESS.match(source), _ADDRESS.match(without_login(source))
    if found is None or shown is None or found.group("host", "port") != shown.group("host", "port"):
        return None
    scheme = found["scheme"].lower()
    if scheme != "rtsp" and any(os.environ.get(name) for name in ("http_proxy", "https_proxy")):
        return None
    host, port = found["host"].strip("[]"), int(found["port"] or _PORTS[scheme])
    return (host, port) if host and 0 < port < 65536 else None


def named(host: str, port: int) -> str:
    """Return "HOST:PORT" as people write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check(host: str, port: int, timeout_s: float) -> None:
    """Return if something takes connections there. Raises UnavailableError, with what to check."""
    where, until, why = named(host, port), time.monotonic() + timeout_s, ""
    addresses = _looked_up(host, port)
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        left = (until - time.monotonic()) / (len(addresses) - tried)  # an IPv6 that leads nowhere leaves time for IPv4
        try:
            with socket.socket(family, kind, protocol) as connection:
                connection.settimeout(max(0.1, left))
                connection.connect(address)
                return
        except ConnectionRefusedError:
            why = f"{where} refuses connections; check the port, and that the camera's settings have this stream on"
        except OSError as error:
            silent = isinstance(error, TimeoutError) or error.errno in (None, errno.EHOSTUNREACH)
            more = "" if silent else f" ({error.strerror})"
            why = why or f"{where} does not answer{more}; check that the camera has power and network, and its address"
    raise UnavailableError(why)


def _looked_up(host: str, port: int) -> list[Any]:
    """Return what `getaddrinfo` does, at least one. Raises UnavailableError."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            what = f"host {host!r} cannot be looked up now"
            raise UnavailableError(f"{what}; check this device's network and name server") from error
        raise UnavailableError(f"no such host {host!r}; check the name in camera.source") from error
    except UnicodeError as error:
        raise UnavailableError(f"no such host {host!r}; check the name in camera.source") from error
