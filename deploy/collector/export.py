"""Windows as CSV or Parquet, row by row from the database: no size is too large for the memory."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from sqlalchemy import Engine, Select, select

from deploy.collector.history import Span
from deploy.collector.tables import agents, provenance, streams, windows

CHUNK: Final = 5000
"""Rows held at once."""
_OWN: Final = [c for c in windows.c if c.name not in ("stream_id", "agent_id", "provenance_id")]
_MADE: Final = [c for c in provenance.c if c.name not in ("id", "hash")]
COLUMNS: Final = ["site", "room", "agent", "epoch", *(c.name for c in _OWN), *(c.name for c in _MADE)]
CAVEAT: Final = "A facial-expression proxy, not validated as a measure of learning or attention (Barrett et al. 2019)."


def rows_of(engine: Engine, span: Span, agent: int | None = None) -> Iterator[Sequence[Any]]:
    """Yield chunks of rows in the order of `COLUMNS`, by agent and time."""
    with engine.connect().execution_options(yield_per=CHUNK) as connection:
        for chunk in connection.execute(_query(span, agent)).partitions():
            yield [tuple(row) for row in chunk]


def _query(span: Span, agent: int | None) -> Select[Any]:
    query = select(agents.c.site, agents.c.room, agents.c.agent, streams.c.epoch, *_OWN, *_MADE)
    query = query.select_from(windows.join(agents).join(streams, streams.c.id == windows.c.stream_id).join(provenance))
    query = query.where(windows.c.end_ms >= span.start, windows.c.end_ms < span.end)
    if agent is not None:
        query = query.where(windows.c.agent_id == agent)
    return query.order_by(windows.c.agent_id, windows.c.end_ms)


def write_file(engine: Engine, span: Span, file: Path, agent: int | None = None) -> None:
    """Write `file`, .csv or .parquet, whole or not at all: what was there stays until all is written.

    Raises OSError and SQLAlchemyError.
    """
    target = file.resolve()
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with aside.open("wb") as data:
            write(engine, span, data, file.suffix[1:], agent)
            data.flush()
            os.fsync(data.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def write(engine: Engine, span: Span, data: BinaryIO, kind: str, agent: int | None = None) -> None:
    """Write into `data`, as "csv" or "parquet". Raises OSError and SQLAlchemyError."""
    if kind == "csv":
        data.writelines(text.encode() for text in _csv_text(engine, span, agent))
    else:
        _write_parquet(engine, span, data, agent)


def _csv_text(engine: Engine, span: Span, agent: int | None) -> Iterator[str]:
    """Yield CSV text: a header, then rows. A cell that a spreadsheet would run as a formula gets a leading quote.

    The last column is empty; its name is the caveat, so that whoever opens the file reads it.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*COLUMNS, CAVEAT])
    for chunk in rows_of(engine, span, agent):
        writer.writerows([[*map(_harmless, row), None] for row in chunk])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _write_parquet(engine: Engine, span: Span, file: BinaryIO, agent: int | None) -> None:
    """Write Parquet. The caveat is in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _arrow_type(pa, name)) for name in COLUMNS], metadata={"caveat": CAVEAT})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for chunk in rows_of(engine, span, agent):
            columns = [list(column) for column in zip(*chunk, strict=True)]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _arrow_type(pa: Any, name: str) -> Any:
    kinds = {"BigInteger": pa.int64(), "Integer": pa.int32(), "Float": pa.float64(), "Boolean": pa.bool_()}
    found = {c.name: type(c.type).__name__ for c in _OWN}
    return kinds.get(found.get(name, ""), pa.string())
