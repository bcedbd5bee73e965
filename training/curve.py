"""`python -m training.curve HISTORY.csv… --out curve.svg`: learning curves as a picture that any document can show."""

import csv
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from agent.errors import InputError
from training.cli import expect_writable, reported

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 44, 48
"""Margins, pixels; the one above has room for three names and grows with more."""

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe & Ito's, which colour-blind readers tell apart."""


@dataclass(frozen=True)
class Curve:
    """One run."""

    name: str
    train: tuple[float, ...]
    """Accuracy on augmented training faces against the top class of their target, 0-1, one an epoch."""
    validation: tuple[float, ...]
    """Accuracy on validation, majority protocol, 0-1."""
    sides: tuple[int, ...]
    """Input of each epoch, pixels."""


def read(path: Path) -> Curve:
    """Return the curve in the history.csv of a run, named after its folder.

    Raises
    ------
    InputError
        no such file, no epoch in it, or other columns
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        train, validation = (tuple(float(row[key]) for row in rows) for key in ("accuracy", "val_accuracy"))
        sides = tuple(int(row["side"]) for row in rows)
    except OSError as cause:
        raise InputError(f"{path}: {cause.strerror}; expected the history.csv of a run") from cause
    except (KeyError, TypeError, ValueError, csv.Error) as cause:
        raise InputError(f"{path}: expected columns side, accuracy and val_accuracy of numbers, got {cause}") from cause
    if not rows:
        raise InputError(f"{path}: expected at least one epoch, got none")
    if wrong := [value for value in train + validation if not 0 <= value <= 1]:
        raise InputError(f"{path}: expected accuracies from 0 to 1, got {wrong[0]}")
    return Curve(path.resolve().parent.name, train, validation, sides)


def svg(curves: Sequence[Curve]) -> str:
    """Return the picture: validation solid, training dashed, the best epoch at each run's last side marked."""
    epochs = max(len(c.validation) for c in curves)
    top = max(TOP, 14 * len(curves) + 2)
    low = min(9, int(10 * min(min(c.train + c.validation) for c in curves))) / 10  # at 1 no height would be left

    def at(epoch: int, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (epoch - 1) / max(1, epochs - 1)
        return round(x, 1), round(HEIGHT - BOTTOM - (HEIGHT - top - BOTTOM) * (value - low) / (1 - low), 1)

    parts = [*_grid(low, epochs, at)]
    for i, curve in enumerate(curves):
        colour = COLOURS[i % len(COLOURS)]
        for values, dash in ((curve.train, ' stroke-dasharray="5 4" opacity="0.6"'), (curve.validation, "")):
            points = " ".join("{},{}".format(*at(e, v)) for e, v in enumerate(values, 1))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        best, epoch = _best(curve)
        x, y = at(epoch, best)
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
        sides = ", then ".join(f"{side} px" for side in dict.fromkeys(curve.sides))
        label = f"{html.escape(curve.name)}, {sides}: validation {best:.4f} in epoch {epoch} (dashed: training faces)"
        parts.append(f'<text x="{LEFT}" y="{16 + 14 * i}" fill="{colour}">{label}</text>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return f'{head}\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"


def _best(curve: Curve) -> tuple[float, int]:
    """Return the best validation accuracy at the last side, which is the released one, and its epoch."""
    of_last = [(v, e) for e, (v, side) in enumerate(zip(curve.validation, curve.sides, strict=True), 1)
               if side == curve.sides[-1]]  # fmt: skip
    return max(of_last, key=lambda pair: pair[0])


def _grid(low: float, epochs: int, at: Callable[[int, float], tuple[float, float]]) -> Iterator[str]:
    for tenth in range(round(low * 10), 11):
        (x, y), right = at(1, tenth / 10), WIDTH - RIGHT
        yield f'<line x1="{x}" y1="{y}" x2="{right}" y2="{y}" stroke="#ddd"/>'
        yield f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{tenth / 10:.1f}</text>'
    for epoch in range(1, epochs + 1, max(1, epochs // 12)):
        x, y = at(epoch, low)
        yield f'<text x="{x}" y="{y + 18}" text-anchor="middle">{epoch}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">epoch</text>'
    _, middle = at(1, (1 + low) / 2)
    turned = f'x="16" y="{middle}" transform="rotate(-90 16 {middle})"'
    yield f'<text {turned} text-anchor="middle">accuracy</text>'


@click.command(epilog="Example: python -m training.curve runs/resnet50/history.csv --out curve.svg")
@click.argument("histories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="SVG file to write.")
@reported
def main(histories: tuple[Path, ...], out: Path) -> None:
    """Draw the learning curves of HISTORIES, the history.csv files of runs."""
    expect_writable(out, ".svg")
    out.write_text(svg([read(path) for path in histories]), encoding="utf-8")
    click.echo(out)


if __name__ == "__main__":
    main()
