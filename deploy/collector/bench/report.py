"""Prints measurements beside what was promised."""

import os
import platform
from collections.abc import Sequence

import click


def machine() -> None:
    """Print what this was measured on."""
    click.echo(f"machine: {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def at_least(what: str, measured: float, promised: float, unit: str) -> None:
    """Print a rate and its ratio to the bar; more is better."""
    verdict = "met" if measured >= promised else "MISSED"
    click.echo(f"{what}: {measured:,.0f} {unit} ({measured / promised:.2f} x the bar of {promised:,.0f}) {verdict}")


def at_most(what: str, measured: float, allowed: float, unit: str) -> None:
    """Print a duration and its ratio to the bar; less is better."""
    verdict = "met" if measured <= allowed else "MISSED"
    click.echo(f"{what}: {measured:,.1f} {unit} ({measured / allowed:.2f} x the bar of {allowed:,.0f}) {verdict}")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0-1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
