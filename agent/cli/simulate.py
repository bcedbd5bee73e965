"""`fer-agent simulate`: rooms that do not exist, for people who build dashboards."""

import logging
import signal
import time
from pathlib import Path

import click

from agent.cli._options import Number, broker_settings, mqtt_version
from agent.device import logs
from agent.simulation.rooms import SimulatedRooms, Tally


@click.command(epilog="Example: fer-agent simulate --rooms 30 --broker 127.0.0.1:1883 --speed 60")
@click.option("--broker", default="127.0.0.1:1883", show_default=True, metavar="HOST:PORT", help="MQTT broker.")
@click.option("--rooms", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N", help="How many.")
@click.option(
    "--speed",
    type=Number(0, 10_000, min_open=True),
    default=1.0,
    show_default=True,
    metavar="X",
    help="Above 1, the past is told this many times as fast, until it has caught up with the clock.",
)
@click.option("--seconds", type=Number(0, min_open=True), metavar="N", help="Stop after this much time.")
@click.option(
    "--window",
    "window_s",
    type=Number(0.1, 3600),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Window length.",
)
@click.option(
    "--trouble",
    type=Number(0, 100),
    default=1.0,
    show_default=True,
    metavar="X",
    help="This many times the usual rate of dark cameras, lost networks and crashes.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same one gives the same lessons.")
@click.option(
    "--name", default="sim", show_default=True, help="How the agents' ids begin; a second simulation needs its own."
)
@mqtt_version
@click.option("--username", help="The password comes from FER_MQTT_PASSWORD.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Use TLS, trust this.")
def command(
    broker: str,
    rooms: int,
    speed: float,
    seconds: float | None,
    window_s: float,
    trouble: float,
    seed: int,
    name: str,
    mqtt_version: str,
    username: str | None,
    ca_file: Path | None,
) -> None:
    """Publish lessons of N rooms that do not exist, with the agent's own protocol.

    Suppressed windows, dark cameras, devices without network, crashes with a declared gap, late deliveries: all that a
    dashboard will meet. Topics are fer/v1/school-01/room-01/sim-0000/…; every window says clock.source "simulated".
    The broker must be there (for a try: mosquitto -p 1883); retained messages stay on it.
    """
    mqtt = broker_settings(broker, mqtt_version, username, ca_file)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logs.set_up(level=logging.CRITICAL)  # a thousand rooms would tell the same; the line below tells it once
    with SimulatedRooms(
        mqtt, rooms, speed=speed, seconds=seconds, window_s=window_s, trouble=trouble, seed=seed, name=name
    ) as simulated:
        _watch(simulated, None if seconds is None else time.monotonic() + seconds)
    click.echo(_line(simulated.tally), err=True)


def _watch(simulated: SimulatedRooms, end: float | None) -> None:
    """Say now and then how it goes, until `end` (monotonic seconds) or Ctrl-C."""
    told = time.monotonic()
    try:
        while simulated.running and (end is None or time.monotonic() < end):
            time.sleep(0.1 if end is None else min(0.1, max(0.0, end - time.monotonic())))
            if time.monotonic() - told >= 5:
                told = time.monotonic()
                click.echo(_line(simulated.tally), err=True)
    except KeyboardInterrupt:
        click.echo("stopping", err=True)


def _line(tally: Tally) -> str:
    return (
        f"{tally.connected} rooms connected, {tally.windows} windows, {tally.gaps} lost in crashes (declared), "
        f"{tally.waiting} not acknowledged"
    )
