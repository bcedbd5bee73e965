"""Who may look: one token, a signed cookie, headers that leave a browser nothing to run but our own files."""

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.errors import CannotWriteError, ConfigError
from agent.trust.files import write_atomically

COOKIE: Final = "fer_session"
SESSION_S: Final = 12 * 3600
"""How long a login lasts, seconds."""
_TRIES: Final = 10
"""Different wrong tokens per minute, from anywhere, before the door stays shut for the rest of the minute."""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def read_token(path: Path) -> str:
    """Return the token in the first line of `path`; make a new one there if the file is missing or empty."""
    try:
        if not path.exists() or not path.read_bytes().strip():
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_token(path)
        token = path.read_text(encoding="utf-8-sig").partition("\n")[0].strip()
    except OSError as error:
        raise CannotWriteError(f"token file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"token file {path}: expected text, got byte {error.object[error.start]:#04x}") from error
    if len(token) < 16:
        raise ConfigError(f"token file {path}: expected at least 16 characters, got {len(token)}")
    return token


def _make_token(path: Path) -> None:
    """Put a whole file there or none: a power cut must not leave an empty one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_atomically(aside, f"{secrets.token_urlsafe(24)}\n".encode())
        if path.exists():
            aside.replace(path)
        else:
            with contextlib.suppress(FileExistsError):  # another process was quicker: its token counts
                path.hardlink_to(aside)
    finally:
        aside.unlink(missing_ok=True)


class Door:
    """Checks tokens and cookies. A cookie is its expiry and an HMAC under the token: a new token ends them all."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._key = hashlib.sha256(b"fer-collector cookie\0" + self._token).digest()
        self._wrong: dict[bytes, float] = {}
        """Digest of a wrong token → when it was first tried, seconds. A monitor that repeats an old one guesses
        nothing, and must not keep people out."""

    def open(self, token: str) -> str | None:
        """Return a cookie for the right token, None for a wrong one. Raises PermissionError after too many."""
        if not self._is_right(token):
            return None
        until = str(int(time.time()) + SESSION_S)
        return f"{until}.{self._sign(until)}"

    def _is_right(self, token: str) -> bool:
        """Check a token, from wherever it came: one count for all. Raises PermissionError after too many wrong ones."""
        now = time.monotonic()
        self._wrong = {wrong: at for wrong, at in self._wrong.items() if now - at < 60}
        if len(self._wrong) >= _TRIES:
            raise PermissionError
        if hmac.compare_digest(token.encode(), self._token):
            return True
        self._wrong.setdefault(hashlib.sha256(token.encode()).digest(), now)
        return False

    def knows(self, connection: HTTPConnection) -> bool:
        """Whether the request carries a valid cookie, or the token as `Authorization: Bearer`. After too many wrong
        tokens none is right; who has a cookie stays in."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            with contextlib.suppress(PermissionError):
                return self._is_right(token.strip())
            return False
        until, _, signature = connection.cookies.get(COOKIE, "").partition(".")
        if not until.isascii() or not until.isdigit() or len(until) > 12:
            return False
        return hmac.compare_digest(signature.encode(), self._sign(until).encode()) and int(until) > time.time()

    def _sign(self, until: str) -> str:
        return hmac.new(self._key, until.encode(), hashlib.sha256).hexdigest()


class SafeHeaders:
    """ASGI middleware: the headers above on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
