"""Shows windows as they come: a refreshed table for people, or one JSON line each."""

import json
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import click
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

_BROKEN: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError)
"""What showing something else than a window raises; OSError comes of a time that the C library cannot say."""
_ROWS: Final = 15
"""Windows shown at a time."""


class WindowView:
    """Context manager: `show(payload)` for each `window` payload. JSON goes to stdout, the table to stderr."""

    def __init__(self, *, as_json: bool, rooms: bool = False, one_room: bool = False) -> None:
        """Args:
        as_json: one payload a line, nothing else.
        rooms: one row a room, its newest window.
        one_room: all windows are of one: a narrow terminal leaves its name out.
        """
        self._json, self._rooms, self._one_room = as_json, rooms, one_room
        self._rows: dict[Any, dict[str, Any]] = {}
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._headed = False

    def __enter__(self) -> Self:
        if not self._json and self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, auto_refresh=False)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def show(self, window: dict[str, Any]) -> None:
        """Show one window, refreshed in place on a terminal, a line each elsewhere."""
        if self._json:
            click.echo(json.dumps(window, separators=(",", ":")))
            return
        if self._live is None:
            self._lines(window)
            return
        key = _key(window)
        self._rows[key[:3] if self._rooms else key] = window
        while not self._rooms and len(self._rows) > _ROWS:
            del self._rows[next(iter(self._rows))]
        self._live.update(self._table(), refresh=True)

    def _lines(self, window: dict[str, Any]) -> None:
        rows = [_cells(window)] if self._headed else [_HEADINGS, _cells(window)]
        self._headed = True
        for row in rows:
            click.echo(
                "  ".join(cell.ljust(width) for cell, width in zip(row, _WIDTHS, strict=True)).rstrip(), err=True
            )

    def _table(self) -> Table:
        wide = self._console.width >= _WIDE
        # Rows that the terminal has no lines for would be left out below: the newest ones.
        most = max(1, self._console.height - _OTHER_LINES)
        windows = list(self._rows.values())
        rows = [_cells(window) for window in windows[-most:]]
        if not wide:
            rows = [(*cells, mostly.partition(",")[0]) for *cells, mostly in rows]
        shown = self._shown(rows, 3 if wide else 2)
        title = "engagement (a facial-expression proxy, not a measure of learning)"
        table = Table(title=title, box=box.HEAVY_HEAD if wide else None)
        if hidden := len(windows) - len(rows) if self._rooms else 0:
            table.caption = f"{hidden} more: --site and --room choose"
        for number in shown:
            table.add_column(_HEADINGS[number], no_wrap=_HEADINGS[number] != "room", overflow="fold")
        for cells in rows:
            table.add_row(*(Text(cells[number]) for number in shown))
        return table

    def _shown(self, rows: list[tuple[str, ...]], between: int) -> list[int]:
        """Return the columns that fit side by side, each whole: of those that do not, the least needed are left out."""
        widths = [max([len(heading), *(len(row[n]) for row in rows)]) for n, heading in enumerate(_HEADINGS)]
        shown = list(range(len(_HEADINGS)))
        for heading in (["room"] if self._one_room else []) + _LEFT_OUT:
            if sum(widths[n] + between for n in shown) < self._console.width:
                break
            shown = [n for n in shown if _HEADINGS[n] != heading]
        return shown


_HEADINGS: Final = (
    "time",
    "room",
    "seq",
    "seats",
    "coverage",
    "engagement",
    "interval",
    "valence",
    "arousal",
    "mostly",
)
_WIDE: Final = 110
"""Characters of a terminal that has room for lines between the columns."""
_OTHER_LINES: Final = 8
"""Of a table: its title, which may be two lines, its heading and edges, the caption, and where the cursor waits."""
_LEFT_OUT: Final = ["valence", "arousal", "mostly", "coverage", "seats", "seq", "interval"]
"""Columns that a narrower one leaves out, the least needed first."""
_LOOKED: Final = (None, "k_min", "budget", "invalid")
"""Of a window that is withheld for another reason the camera saw nothing: its seats were not counted."""
_WIDTHS: Final = (8, 12, 4, 5, 8, 15, 8, 7, 7, 0)
"""Characters of a column where there is no terminal."""


def window_of(payload: bytes) -> dict[str, Any] | None:
    """Return the window that a message holds; None if it cannot be shown as one. Keys that are not known are let be."""
    try:
        window: dict[str, Any] = json.loads(payload)
        json.dumps(window, allow_nan=False)  # Python reads NaN, and 1e999 as Infinity; JSON has neither
        _cells(window)
        hash(_key(window))
    except _BROKEN:
        return None
    return window


def _key(window: dict[str, Any]) -> tuple[Any, ...]:
    """The room's names, then the window's."""
    return window["site"], window["room"], window["agent"], window["epoch"], window["seq"]


def _cells(window: dict[str, Any]) -> tuple[str, ...]:
    """One window as text, in the order of `_HEADINGS`; nothing in it can steer a terminal."""
    return tuple("".join(filter(str.isprintable, cell)) for cell in _texts(window))


def _texts(window: dict[str, Any]) -> tuple[str, ...]:
    when = datetime.fromtimestamp(window["start_ms"] / 1000).astimezone().strftime("%H:%M:%S")
    flags = ("~" if window["replay"] else "") + ("…" if window["partial"] else "")
    room = f"{window['site']}/{window['room']}"
    withheld = window["suppressed"]
    # Where the contract withholds a number it is 0, whatever was seen.
    seats = str(window["seats"]) if withheld in _LOOKED else "–"
    coverage = f"{window['coverage']:.0%}" if withheld is None else "–"
    head = (when, room, f"{window['seq']}{flags}", seats, coverage)
    if withheld is not None:
        return (*head, f"withheld: {withheld}", "", "", "", "")
    e = window["engagement"]
    interval = "" if e["ci95"] is None else "{:.0f}-{:.0f}".format(*e["ci95"])
    shares = sorted(window.get("shares", {}).items(), key=lambda item: -item[1])[:2]
    mostly = ", ".join(f"{name} {share:.0%}" for name, share in shares)
    return (
        *head,
        f"{e['value']:g}",
        interval,
        _signed(window.get("valence")),
        _signed(window.get("arousal")),
        mostly,
    )


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"
