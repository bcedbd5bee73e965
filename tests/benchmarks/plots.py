"""Line charts as SVG without a plotting library: what the benchmarks draw into agent/vision/figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

COLOURS = ("#0b5fa5", "#c2410c", "#15803d", "#7e22ce", "#525252", "#b45309")
WIDE, HIGH = 400, 300
"""Of one panel, pixels."""
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 44
"""Room around a panel's axes, pixels."""


@dataclass(frozen=True)
class Panel:
    """One chart."""

    title: str
    x: str
    """What runs to the right, with its unit."""
    y: str
    """What runs upwards, with its unit."""
    series: Mapping[str, Sequence[tuple[float, float]]]
    """Points by name; a name that starts with "-" is a dashed line without dots."""
    start: float = 0.0
    """Where the y axis begins."""


def draw(path: Path, *panels: Panel) -> None:
    """Write the panels side by side."""
    width = WIDE * len(panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HIGH}" width="{width}" height="{HIGH}"'
    parts = [f'{head} font-family="sans-serif" font-size="11">', f'<rect width="{width}" height="{HIGH}" fill="#fff"/>']
    for number, panel in enumerate(panels):
        parts += [f'<g transform="translate({number * WIDE},0)">', *_panel(panel), "</g>"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def ticks(low: float, high: float) -> list[float]:
    """Return four to nine round numbers from `low` or just below to `high` or just above."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _panel(panel: Panel) -> list[str]:
    points = [p for line in panel.series.values() for p in line]
    across = ticks(0, max(x for x, _ in points))
    up = ticks(panel.start, max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (WIDE - LEFT - RIGHT) * (x - across[0]) / (across[-1] - across[0]),
            HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * (y - up[0]) / (up[-1] - up[0]),
        )

    parts = [f'<text x="{LEFT}" y="16" font-size="13" font-weight="bold">{escape(panel.title)}</text>']
    for y in up:
        (x0, at), (x1, _) = place(across[0], y), place(across[-1], y)
        parts.append(f'<path d="M{x0:.1f},{at:.1f}H{x1:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x0 - 5:.1f}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in across:
        at, base = place(x, up[0])
        parts.append(f'<text x="{at:.1f}" y="{base + 15:.1f}" text-anchor="middle">{x:g}</text>')
    middle = (LEFT + WIDE - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HIGH - 10}" text-anchor="middle">{escape(panel.x)}</text>')
    parts.append(
        f'<text transform="translate(12,{HIGH / 2}) rotate(-90)" text-anchor="middle">{escape(panel.y)}</text>'
    )
    for number, (name, line) in enumerate(panel.series.items()):
        parts += _line(name, [place(*p) for p in line], COLOURS[number % len(COLOURS)], number)
    return parts


def _line(name: str, places: Sequence[tuple[float, float]], colour: str, number: int) -> list[str]:
    """Return a line, its dots, and its entry in the legend at the lower right."""
    dashed = name.startswith("-")
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    style = 'stroke-width="1.2" stroke-dasharray="5 4"' if dashed else 'stroke-width="2"'
    parts = [f'<polyline points="{way}" fill="none" stroke="{colour}" {style}/>']
    if not dashed:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in places]
    legend = f'x="{WIDE - RIGHT - 6}" y="{HIGH - BOTTOM - 8 - 14 * number}" text-anchor="end" fill="{colour}"'
    parts.append(f"<text {legend}>{escape(name.removeprefix('-'))}</text>")
    return parts
