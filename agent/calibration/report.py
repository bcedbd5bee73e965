"""The report of a calibration: one HTML file, drawings as inline SVG, nothing loaded from anywhere, no picture.

Law: it holds numbers of rooms and faces' sizes, never a pixel, a place or a person.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

import numpy as np

from agent import config
from agent.calibration import camera, compare, parts
from agent.calibration.labelled import Bars
from agent.calibration.parts import Record
from agent.calibration.session import Measured
from agent.insight.engagement import CAVEAT

_WIDTH: Final = 460
_HEIGHT: Final = 200
_LEFT, _BOTTOM = 40, 30
"""Room for the axes, pixels."""

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>Calibration {id}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2330 }}
h1 {{ font-size: 1.4rem }} h2 {{ font-size: 1.1rem; margin-top: 2rem }}
table {{ border-collapse: collapse }} th, td {{ text-align: left; padding: .2rem 1rem .2rem 0 }}
tr + tr {{ border-top: 1px solid #d8dde6 }} svg {{ max-width: 100%; height: auto; font: 11px system-ui, sans-serif }}
.note {{ color: #5a6577; max-width: 45rem }}
</style></head><body>
<h1>Calibration {id}</h1>
<p class="note">Made {made}, expires {expires}; model {model}…, agent {agent}.</p>
{body}
<p class="note">{caveat}</p>
</body></html>
"""


def page(record: Record, measured: Measured, before: parts.Parts | None, settings: config.Settings) -> str:
    """Return the report of `record` as one HTML document."""
    table = _table(("", "before", "after"), compare.rows(before, record.parts, settings))
    return _PAGE.format(
        id=record.id,
        made=_date(record.made_at),
        expires=_date(record.expires_at),
        model=record.model_sha256[:12],
        agent=escape(record.agent),
        body="\n".join((table, *_camera(record.parts.camera, measured.room), *_diagrams(measured))),
        caveat=escape(CAVEAT),
    )


def _camera(part: parts.Camera | None, room: camera.CameraMeter | None) -> list[str]:
    if part is None:
        return []
    known = f"an assumed field of view of {camera.ASSUMED_FOV:g}° (say yours with --fov)"
    source = "the stated field of view" if part.fov_stated else known
    found = [
        "<h2>Range</h2>",
        f'<p class="note">How far away a face 14 cm wide is so many pixels wide, by {source}.</p>',
        _table(("distance", "width of a face", ""), compare.ranges(part)),
    ]
    if room is not None:
        marks = (camera.POOR_PX, camera.GOOD_PX)
        found += [
            f"<h2>Face sizes</h2><p class='note'>{len(room.widths)} faces in {room.frames} pictures; lines at "
            f"{marks[0]} and {marks[1]} px.</p>",
            histogram(room.widths, 0, max(100.0, *room.widths), marks, "width, pixels"),
            "<h2>Exposure</h2><p class='note'>Mean grey level of each face; good between the lines.</p>",
            histogram(room.lumas, 0, 255, (camera.DARKEST, camera.BRIGHTEST), "grey level, 0–255"),
        ]
    return found


def _diagrams(measured: Measured) -> list[str]:
    if measured.diagrams is None:
        return []
    found, part = measured.diagrams, measured.diagrams.part
    whose = "the model's validation faces"
    if part.origin == "crops":
        whose = (
            "this room's crops, each left out of its fit and counted as common as its emotion is, not as in the folder"
        )
    head = f"<h2>Reliability</h2><p class='note'>How often the top emotion is right, of {whose}: on the line is honest."
    if not found.after:
        return [f"{head} The model's card holds no diagram.</p>"]
    drawn = reliability(found.after, "after")
    return [f"{head}</p>", reliability(found.before, "before") + drawn if found.before else drawn]


def histogram(values: Sequence[float], low: float, high: float, marks: Sequence[float], name: str) -> str:
    """Return an SVG of how `values` spread over `low` to `high`, with a vertical line at each mark."""
    counts, _ = np.histogram(np.clip(values, low, high), bins=25, range=(low, high))
    most, step = max(1, int(counts.max())), _WIDTH / len(counts)
    bars = "".join(
        _rect(_LEFT + i * step, count / most, step - 1, "#4a7fb5") for i, count in enumerate(counts.tolist()) if count
    )
    lines = "".join(_mark(_LEFT + (mark - low) / (high - low) * _WIDTH, f"{mark:g}") for mark in marks)
    ends = f'<text x="{_LEFT}" y="{_HEIGHT + 14}">{low:g}</text>'
    ends += f'<text x="{_LEFT + _WIDTH}" y="{_HEIGHT + 14}" text-anchor="end">{high:.0f}</text>'
    return _svg(name, f"{len(values)} values, {most} in the highest bar", bars + lines + ends)


def reliability(bars: Bars, name: str) -> str:
    """Return an SVG of a reliability diagram: truth over confidence, and the line where both agree."""
    step = _WIDTH / len(bars)
    drawn = "".join(
        _rect(
            _LEFT + i * step, truth, step - 1, "#4a7fb5", f"{n} faces, confidence {confidence:.2f}, right {truth:.2f}"
        )
        for i, (n, confidence, truth) in enumerate(bars)
        if n
    )
    line = f'<line x1="{_LEFT}" y1="{_HEIGHT}" x2="{_LEFT + _WIDTH}" y2="10" stroke="#b5544a" stroke-dasharray="4"/>'
    total = sum(n for n, _, _ in bars)
    error = sum(n * abs(confidence - truth) for n, confidence, truth in bars) / max(1, total)
    return _svg("confidence, 0–1", f"{name}: {total} faces, calibration error {error:.3f}", drawn + line)


def _rect(x: float, share: float, width: float, colour: str, title: str = "") -> str:
    height = share * (_HEIGHT - 10)
    inner = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}">'
        f"{inner}</rect>"
    )


def _mark(x: float, text: str) -> str:
    return (
        f'<line x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{_HEIGHT}" stroke="#b5544a" stroke-dasharray="4"/>'
        f'<text x="{x + 3:.1f}" y="12">{escape(text)}</text>'
    )


def _svg(axis: str, title: str, inner: str) -> str:
    wide, high = _LEFT + _WIDTH + 10, _HEIGHT + _BOTTOM
    return (
        f'<svg viewBox="0 0 {wide} {high}" width="{wide}" role="img"><title>{escape(title)}</title>'
        f'<line x1="{_LEFT}" y1="{_HEIGHT}" x2="{_LEFT + _WIDTH}" y2="{_HEIGHT}" stroke="#1c2330"/>{inner}'
        f'<text x="{_LEFT + _WIDTH / 2:.0f}" y="{high - 4}" text-anchor="middle">{escape(axis)}</text></svg>'
        f"<p class='note'>{escape(title)}</p>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _date(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
