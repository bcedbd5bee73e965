"""`fer-agent tail`: watch windows as they arrive at a broker."""

import re
import time

import click

from agent.cli._live import WindowView, window_of
from agent.cli._options import Number, broker_settings, mqtt_version
from agent.config import ID
from agent.delivery.subscribe import Subscriber
from agent.delivery.topics import PREFIX
from agent.errors import UsageError


@click.command(epilog="Example: fer-agent tail --broker 127.0.0.1:1883 --room b12 --json")
@click.option("--broker", default="127.0.0.1:1883", show_default=True, metavar="HOST:PORT", help="MQTT broker.")
@click.option("--site", default="+", help="Only this site.  [all]")
@click.option("--room", default="+", help="Only this room.  [all]")
@click.option("--agent", "agent_id", default="+", help="Only this agent.  [all]")
@click.option("--json", "as_json", is_flag=True, help="Print one window payload a line, nothing else, on stdout.")
@click.option("--rooms", is_flag=True, help="One row a room: its newest window.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after this many windows.")
@click.option("--seconds", type=Number(0, min_open=True), metavar="N", help="Stop after this much time.")
@mqtt_version
@click.option("--username", help="The password comes from FER_MQTT_PASSWORD.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="Use TLS, and trust this authority.")
def command(
    broker: str,
    site: str,
    room: str,
    agent_id: str,
    as_json: bool,
    rooms: bool,
    count: int | None,
    seconds: float | None,
    mqtt_version: str,
    username: str | None,
    ca_file: str | None,
) -> None:
    """Watch windows as they arrive at a broker.

    "~" marks a late delivery, "…" a window that was cut short. Reads only; the broker must be there
    (for a try: mosquitto -p 1883).
    """
    mqtt = broker_settings(broker, mqtt_version, username, ca_file)
    for name, value in (("--site", site), ("--room", room), ("--agent", agent_id)):
        if value != "+" and not re.fullmatch(ID, value):
            raise UsageError(f'{name}: expected letters a-z, digits and "-", or + for all, got {value!r}')
    end = None if seconds is None else time.monotonic() + seconds
    topic = f"{PREFIX}/{site}/{room}/{agent_id}/window"
    with Subscriber(mqtt, [topic]) as subscriber, WindowView(as_json=as_json, rooms=rooms) as view:
        seen = 0
        while (count is None or seen < count) and (end is None or time.monotonic() < end):
            message = subscriber.get(0.5 if end is None else max(0.0, min(0.5, end - time.monotonic())))
            if message is None:
                continue
            seen += 1
            if (window := window_of(message.payload)) is not None:
                view.show(window)
            else:
                click.echo(f"warning: {message.topic!r}: no window payload, {len(message.payload)} bytes", err=True)
