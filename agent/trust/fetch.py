"""Reads a bundle over HTTPS from an allowed origin, without redirects, proxies' tricks or credentials in the URL."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import IO, Final
from urllib.parse import urlsplit

from agent.errors import ModelError, TryAgainError
from agent.trust.signed_bundle import Read

_TIMEOUT_S: Final = 30.0
"""Longest silence of the server, seconds."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An allowed origin cannot send the device elsewhere."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        del req, fp, msg, headers
        raise ModelError(f"expected a file, got redirect {code} to {newurl[:200]!r}")


def from_https(url: str, origins: Sequence[str]) -> Read:
    """Read the files of the bundle in the folder `url`, e.g. "https://models.example.org/fer/resnet50/".

    Raises ModelError unless its origin is one of `origins`.
    """
    wrong = f"expected https://host/folder/ without user, query or .., got {url[:200]!r}"
    try:
        parts = urlsplit(url)
    except ValueError as cause:  # e.g. half of an IPv6 address
        raise ModelError(f"{wrong}: {cause}") from cause
    origin = f"{parts.scheme}://{parts.netloc}"
    odd = "@" in parts.netloc or parts.query or parts.fragment or ".." in parts.path
    if parts.scheme != "https" or odd or not all("!" <= character <= "~" for character in url):
        raise ModelError(wrong)
    if origin.lower() not in {allowed.lower().rstrip("/") for allowed in origins}:
        raise ModelError(f"{origin} is not in updates.origins; only an operator at the device can add it")
    opener = urllib.request.build_opener(_NoRedirect)

    def read(name: str, limit: int) -> bytes:
        target = f"{origin}{parts.path.rstrip('/')}/{name}"
        try:
            # ruff's S310 asks for the scheme to be checked: it is, above.
            with opener.open(target, timeout=_TIMEOUT_S) as answer:
                content: bytes = answer.read(limit + 1)
        except urllib.error.HTTPError as cause:
            raise ModelError(f"{target}: the server answered {cause.code}") from cause
        except (OSError, http.client.HTTPException) as cause:
            raise TryAgainError(f"{target}: cannot be fetched ({getattr(cause, 'reason', None) or cause})") from cause
        if len(content) > limit:
            raise ModelError(f"{target}: expected at most {limit} bytes")
        return content

    return read
