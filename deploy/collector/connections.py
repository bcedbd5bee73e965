"""The page's connections: bounded in number, and ended when they stand still.

Law: who has no login must not take the process's descriptors. A service has 1,024, and with them go the page, the way
back to a broker that was away, and the log, which grows by a traceback for each connection that is not taken.
"""

import asyncio
import socket
from typing import Any, Final
from weakref import WeakSet

from uvicorn.protocols.http.h11_impl import H11Protocol

_MOST: Final = 450
"""Connections at one time; a page holds one. Whose reader is slow holds a file, too."""
_PATIENCE_S: Final = 20.0
"""Pause between two looks at a connection, seconds."""


class Listener(socket.socket):
    """A listening socket that hangs up on whoever comes while `_MOST` are there."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(fileno=listening.detach())
        self._taken: WeakSet[socket.socket] = WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection; BlockingIOError if there is none, or no room for it."""
        taken, address = super().accept()
        if sum(one.fileno() >= 0 for one in self._taken) >= _MOST:
            taken.close()
            raise BlockingIOError
        self._taken.add(taken)
        return taken, address


class Connection(H11Protocol):
    """uvicorn's own, which waits for ever for the rest of a request, and for a reader that does not read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look."""
        super().connection_made(transport)
        self._stood: tuple[Any, int] | None = (None, 0)
        self._next_look = self.loop.call_later(_PATIENCE_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """End the connection if a request is not whole, an answer not read, and nothing moved since last time."""
        cycle, left = self.cycle, self.transport.get_write_buffer_size()
        asks = cycle is None or cycle.more_body or cycle.response_complete
        stands = (cycle, left) if asks or left else None
        if stands is not None and stands == self._stood:
            self.transport.abort()
            return
        self._stood = stands
        self._next_look = self.loop.call_later(_PATIENCE_S, self._look)
