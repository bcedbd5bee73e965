"""Exports over the page: written aside at the database's pace, then sent at the reader's.

Law: who reads slowly holds a file, never a connection of the database: those are few, and SQLite's log of changes grows
as long as one reads.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from deploy.collector.export import write
from deploy.collector.history import Span
from deploy.collector.messages import Source

AT_ONCE: Final = 2
"""Exports that are written at one time."""
PATIENCE_S: Final = 20.0
"""How long a further one waits for its turn."""
_TYPES: Final = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


class Downloads:
    """Answers with a file. One event loop; files are written in its thread pool."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def answer(self, kind: str, span: Span, source: Source | None, agent: int | None) -> Response:
        """Return the windows of one room, or of all, as "csv" or "parquet". Raises SQLAlchemyError."""
        try:
            await asyncio.wait_for(self._turns.acquire(), PATIENCE_S)
        except TimeoutError:
            return _later(f"{AT_ONCE} other exports are being written; try again in a minute")
        try:
            file = await run_in_threadpool(_write, self._engine, kind, span, agent)
        except OSError as error:
            return _later(f"the collector has no room to write the export: {error.strerror}")
        finally:
            self._turns.release()
        name = f"{source.site}-{source.room}-{source.agent}" if source else "windows"
        headers = {"Content-Disposition": f'attachment; filename="{name}.{kind}"'}
        return StreamingResponse(_chunks(file), media_type=_TYPES[kind], headers=headers)


def _later(why: str) -> Response:
    return JSONResponse({"error": why}, status_code=503, headers={"Retry-After": "60"})


def _write(engine: Engine, kind: str, span: Span, agent: int | None) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed by _chunks, or here
    try:
        write(engine, span, file, kind, agent)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _chunks(file: Any) -> Iterator[bytes]:
    with file:
        while chunk := file.read(1 << 16):
            yield chunk
