"""Why a network camera cannot be opened: is it there at all, and what does it answer? Each fault has its own words.

FFmpeg, which opens the stream, tells nobody why it could not. No login is sent from here: cameras lock users out.
"""

import contextlib
import errno
import os
import re
import socket
import ssl
import time
from typing import Any, Final

from agent.config.words import without_login
from agent.errors import UnavailableError

_PORTS: Final = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_ADDRESS: Final = re.compile(
    r"(?P<scheme>(?:rtsp|http)s?)://(?:[^/?#]*@)?(?P<host>\[[^\]]*\]|[^/?#:]*)(?::(?P<port>\d*))?(?P<path>[/?#].*|$)",
    re.IGNORECASE | re.DOTALL,
)
"""As FFmpeg divides an address: the login ends at the last "@" before the first "/", "?" or "#"."""

_TLS: Final = ssl.create_default_context()
_TLS.check_hostname, _TLS.verify_mode = False, ssl.CERT_NONE  # as FFmpeg: cameras have certificates of their own

_ESCAPES: Final = "write @ in it as %40, / as %2F, : as %3A, # as %23, ? as %3F, % as %25"
_LOGIN: Final = "rtsp://USER:PASSWORD@HOST/PATH"
_ANSWER_S: Final = 2.0
"""Longest wait for the camera's own answer, seconds: within the slack that the watchdog gives a driver."""
_TLS_ALERT: Final = b"\x15\x03"
"""Begins what a TLS server says to a plain question."""
_NO_TLS: Final = -1
_STATUS: Final = re.compile(rb"(?:RTSP|HTTP)/\d\.\d (\d{3})\b")


def place(source: str) -> tuple[str, int] | None:
    """Return (host, port) of a camera's address; None where a connection of our own would prove nothing.

    That is so of other schemes (udp, rtmp), behind a proxy, and of an address of which it is not sure what is its host
    and what its login (a "/" that nobody escaped): that login must not be shown.
    """
    found, shown = _ADDRESS.match(source), _ADDRESS.match(without_login(source))
    if found is None or shown is None or found.group("host", "port") != shown.group("host", "port"):
        return None
    scheme = found["scheme"].lower()
    if scheme.startswith("http") and any(os.environ.get(name) for name in ("http_proxy", "https_proxy")):
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


def why_not(source: str) -> str:
    """Return what to check where `check` found something and FFmpeg no stream: asks once, as a player does first."""
    at, login = place(source), "@" in source
    if at is None:
        hint = f"; {_ESCAPES}" if login and source.lower().partition("://")[0] in _PORTS else ""
        return f"not there, or silent; check the address in camera.source{hint}"
    code, where, scheme = _answer(source, *at), named(*at), source.partition("://")[0].lower()
    if code in (401, 403) and login:
        return f"{where} does not take this login ({code}); check user and password ({_ESCAPES}), then the path"
    if code in (401, 403):
        return f"{where} asks for a login ({code}); check user and password: {_LOGIN}, then the path"
    if code in (400, 404):
        return f"{where} has no such stream ({code}); check the path in camera.source"
    if code == _NO_TLS:
        return f"{where} speaks no TLS; write {scheme.removesuffix('s')}:// in camera.source, or check the port"
    if code == 0:
        other = "" if scheme.endswith("s") else f", or write {scheme}s:// if it speaks TLS"
        return f"{where} takes connections and answers nothing; restart the camera, and check the port{other}"
    if code is not None and code >= 300:
        return f"{where} answers {code}; check the path, and that no more viewers are connected than the camera allows"
    return f"{where} answers but sends no stream; check path, user and password"


def _answer(source: str, host: str, port: int) -> int | None:
    """Return the status with which the camera answers a question for its stream without a login.

    0 where nothing came that can be read, _NO_TLS where that ended with TLS, None where the answer is no status.
    """
    found = _ADDRESS.match(source)
    assert found is not None, "what has a place has this form"
    path = found["path"].split("#")[0]
    path = path if path.startswith("/") else f"/{path}"
    scheme, where = found["scheme"].lower(), named(host, port)
    asked = f"DESCRIBE {scheme}://{where}{path} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    if scheme.startswith("http"):
        asked = f"GET {path} HTTP/1.0\r\nHost: {where}\r\n\r\n"
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection((host, port), timeout=_ANSWER_S))
            connection.settimeout(_ANSWER_S)
            if scheme.endswith("s"):
                connection = stack.enter_context(_TLS.wrap_socket(connection, server_hostname=host))
            connection.sendall(asked.encode())
            answer = connection.recv(64)
    except ssl.SSLError:
        return _NO_TLS
    except (OSError, UnicodeError):
        return 0
    if answer.startswith(_TLS_ALERT):
        return 0
    status = _STATUS.match(answer)
    return int(status[1]) if status else None


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
