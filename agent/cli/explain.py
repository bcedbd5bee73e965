"""`fer-agent explain`: on one screen, what the index is, from which weights, and what it is not."""

import json
from pathlib import Path
from typing import Any, Final

import click

from agent.cli._state import config_option, settings_of
from agent.emotions import LABELS
from agent.insight import weights
from agent.insight.engagement import AFFECT, CAVEAT, LEAST_SAMPLES
from agent.insight.privacy import PROFILES
from agent.insight.weights import WeightTable

LAW: Final = (
    "Inferring emotions in education or at work is prohibited in the EU (AI Act Art. 5(1)(f), since 2 February 2025) "
    "except for medical or safety reasons."
)
NOT_FOR: Final = "Not for grading, discipline, appraising teachers, or alerts about one person."
_WHAT: Final = (
    "0-100 points for the whole room: each face's eight probabilities times the weights below, averaged over one "
    f"seat's looks, then over all seats with at least {LEAST_SAMPLES} looks. Every seat counts alike; no face is "
    "decided by its top emotion."
)
_INTERVAL: Final = (
    "ci95 counts people, not frames: who was not seen, how people differ, and that one person's looks resemble each "
    "other. delta is the index minus the room's own at rest (fer-agent calibrate)."
)


@click.command(epilog="Example: fer-agent explain --weights school.toml")
@click.option("--weights", "name", default=None, metavar="ID|FILE", help="Id or TOML file [engagement.weights].")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def command(name: str | None, config: Path | None, as_json: bool) -> None:
    """Say what the engagement index is, from which weights, and what it is not.

    A weight table of your own is a TOML file with id = "name/1", source = "where it comes from" and eight numbers of
    0-100 under [weights]; name it as engagement.weights in agent.toml. Its id travels in every window.
    """
    table = weights.load(name or settings_of(config, None).engagement.weights)
    click.echo(json.dumps(_json(table), ensure_ascii=False) if as_json else _text(table))


def _json(table: WeightTable) -> dict[str, Any]:
    return {
        "index": _WHAT,
        "interval": _INTERVAL,
        "weights": {
            "id": table.id,
            "source": table.source,
            "points": dict(zip(LABELS, table.points, strict=True)),
        },
        "affect": {label: dict(zip(("valence", "arousal"), AFFECT[label], strict=True)) for label in LABELS},
        "k_min": {profile.name: profile.k_min for profile in PROFILES.values()},
        "caveat": CAVEAT,
        "law": LAW,
        "not_for": NOT_FOR,
        "packaged": sorted(weights.packaged()),
    }


def _text(table: WeightTable) -> str:
    rows = [
        f"  {label:<10}{points:>6.1f} {'█' * round(points / 5):<20}  {AFFECT[label][0]:+.2f}  {AFFECT[label][1]:+.2f}"
        for label, points in zip(LABELS, table.points, strict=True)
    ]
    people = ", ".join(f"{profile.k_min} ({profile.name})" for profile in PROFILES.values())
    return "\n".join(
        (
            "ENGAGEMENT INDEX",
            *_wrapped(_WHAT),
            *_wrapped(_INTERVAL),
            *_wrapped(f"With fewer people than {people} there is no result."),
            "",
            f"WEIGHTS {table.id:<33} valence arousal",
            *rows,
            *_wrapped(f"Source: {table.source}"),
            "",
            "WHAT IT IS NOT",
            *_wrapped(CAVEAT),
            *_wrapped(NOT_FOR),
            *_wrapped(LAW),
        )
    )


def _wrapped(text: str) -> list[str]:
    return [line.rstrip() for line in click.wrap_text(text, 78, "  ", "  ").splitlines()]
