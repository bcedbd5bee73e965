"""The page's server: static files, a login, JSON of now and of the past, server-sent events, exports. Read-only."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from agent.delivery.wallclock import now_ms
from deploy.collector.access import COOKIE, SESSION_S, Door, SafeHeaders
from deploy.collector.download import Downloads
from deploy.collector.history import History, Span
from deploy.collector.hub import Hub
from deploy.collector.messages import ID, Source
from deploy.collector.tally import Tally
from deploy.collector.troubles import Collecting

STATIC: Final = Path(__file__).parent / "static"
_DAY_MS: Final = 24 * 3_600_000
_LONGEST_MS: Final = 10 * 366 * _DAY_MS
_LONGEST_FORM: Final = 4096

Handler = Callable[[Request], Awaitable[Response]]


class Page:
    """The handlers, with what they need."""

    def __init__(self, engine: Engine, door: Door, tally: Tally | None, ingest: Collecting | None = None) -> None:
        self._door, self._tally = door, tally
        self._history = History(engine)
        self._downloads = Downloads(engine)
        self.hub = Hub(engine, ingest)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        closed = [
            ("/", self.index),
            ("/api/rooms", self.rooms),
            ("/api/live", self.live),
            ("/api/stats", self.stats),
            ("/api/rooms/{site}/{room}/{agent}/series", self.series),
            ("/api/rooms/{site}/{room}/{agent}/about", self.about),
            ("/export.csv", self.export),
            ("/export.parquet", self.export),
        ]
        routes: list[Any] = [Route(path, self._only_for_guests(handler)) for path, handler in closed]
        routes += [
            Route("/login", self.login_page),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/healthz", self.healthz),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
        middleware = [Middleware(SafeHeaders), Middleware(GZipMiddleware, minimum_size=1000)]
        return Starlette(routes=routes, middleware=middleware, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self.hub.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def _only_for_guests(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if not self._door.knows(request):
                if request.url.path == "/":
                    return RedirectResponse("/login", status_code=303)
                return JSONResponse({"error": "not logged in"}, status_code=401)
            try:
                return await handler(request)
            except ValueError as error:
                return JSONResponse({"error": str(error)[:200]}, status_code=400)
            except LookupError:
                return JSONResponse({"error": "no such room"}, status_code=404)
            except SQLAlchemyError:
                return JSONResponse({"error": "the database is away"}, status_code=503)

        return guarded

    async def index(self, _: Request) -> Response:
        """The page itself."""
        return FileResponse(STATIC / "index.html")

    async def login_page(self, _: Request) -> Response:
        """The form for the token."""
        return FileResponse(STATIC / "login.html")

    async def login(self, request: Request) -> Response:
        """Take the token of the form; 303 to the page, or back to the form."""
        body = b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > _LONGEST_FORM:
                    return Response(status_code=413)
        except ClientDisconnect:  # nobody waits for the answer; the log must not grow by a traceback for each
            return Response(status_code=400)
        fields = _form(body)
        try:
            cookie = self._door.open(fields.get("token", ""))
        except PermissionError:
            return RedirectResponse("/login?wait", status_code=303)
        if cookie is None:
            await asyncio.sleep(0.3)
            return RedirectResponse("/login?wrong", status_code=303)
        answer = RedirectResponse("/", status_code=303)
        encrypted = request.url.scheme == "https"  # as the browser sees it: a proxy on this machine says so
        answer.set_cookie(COOKIE, cookie, max_age=SESSION_S, httponly=True, samesite="strict", secure=encrypted)
        return answer

    async def logout(self, _: Request) -> Response:
        """Forget the cookie."""
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    async def healthz(self, _: Request) -> Response:
        """For a load balancer: 200 while the database answers, 503 else; a line for each that is away. A broker that
        is away is said, and no more: to start the collector again would not bring it back."""
        troubles = self.hub.troubles
        well = not troubles.away("database")
        lines = ["ok"] if well else []
        lines += [f"{name} away" for name, state in troubles.told().items() if state]
        return Response("".join(f"{line}\n" for line in lines), status_code=200 if well else 503)

    async def rooms(self, _: Request) -> Response:
        """Every room now, and whether broker and database are there."""
        return JSONResponse({"now": now_ms(), "trouble": self.hub.troubles.told(), "rooms": self.hub.rooms})

    async def live(self, _: Request) -> Response:
        """Server-sent events: `trouble` with what is away, `rooms` with those that changed, `reload` after a stall."""
        headers = {"X-Accel-Buffering": "no", "Content-Encoding": "identity"}
        return StreamingResponse(self.hub.stream(), media_type="text/event-stream", headers=headers)

    async def stats(self, _: Request) -> Response:
        """Counters of this collector; since when broker and database are there, or away."""
        counted = self._tally.snapshot() if self._tally else {}
        return JSONResponse({**counted, "links": self.hub.troubles.since()})

    async def series(self, request: Request) -> Response:
        """One room over time."""
        span, agent = _span(request), await self._agent(request)
        found = await run_in_threadpool(self._history.series, agent, span)
        return JSONResponse({"from": span.start, "to": span.end, **found})

    async def about(self, request: Request) -> Response:
        """What happened in one room, and what made its numbers."""
        span, agent = _span(request), await self._agent(request)
        found = await run_in_threadpool(self._history.happenings, agent, span)
        made_by = await run_in_threadpool(self._history.made_by, agent, span)
        return JSONResponse({**found, "made_by": made_by})

    async def export(self, request: Request) -> Response:
        """Windows of one room, or of all, as CSV or Parquet."""
        kind = request.url.path.rpartition(".")[2]
        span = _span(request)
        source = _source(request.query_params) if "room" in request.query_params else None
        agent = await self._known(source) if source else None
        return await self._downloads.answer(kind, span, source, agent)

    async def _agent(self, request: Request) -> int:
        return await self._known(_source(request.path_params))

    async def _known(self, source: Source) -> int:
        if not all(map(ID.fullmatch, (source.site, source.room, source.agent))):
            raise LookupError
        agent = await run_in_threadpool(self._history.agent_id, source)
        if agent is None:
            raise LookupError
        return agent


def _source(names: Mapping[str, str]) -> Source:
    return Source(*(names.get(key, "") for key in ("site", "room", "agent")))


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=10))
    except ValueError:
        return {}


def _span(request: Request) -> Span:
    """Read `from` and `to` (UTC milliseconds); the last day without them. Raises ValueError."""
    q = request.query_params
    end = _moment("to", q["to"]) if "to" in q else now_ms() + 1
    start = _moment("from", q["from"]) if "from" in q else end - _DAY_MS
    if end - start > _LONGEST_MS:
        raise ValueError(f"expected at most ten years, got {start} to {end}")
    return Span(start, end)


def _moment(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}: expected a time in UTC milliseconds since 1970, got {text[:40]!r}") from None
