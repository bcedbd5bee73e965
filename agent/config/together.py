"""Settings that are valid one by one, and not together."""

from collections.abc import Iterator

from agent.config import Mqtt, Settings
from agent.config.lines import Key
from agent.delivery.topics import NO_AGENTS
from agent.insight.engagement import LEAST_SAMPLES
from agent.insight.privacy import window_seconds


def check_together(settings: Settings) -> Iterator[tuple[Key, str]]:
    """Yield (key, what is wrong)."""
    if settings.agent.id in NO_AGENTS:
        yield ("agent", "id"), f'expected a name of this device, got "{settings.agent.id}", a user of the broker\'s'
    yield from _incomplete(settings.mqtt)
    if (line := settings.privacy.pause_gpio) is not None and line == settings.privacy.led_gpio:
        yield ("privacy", "pause_gpio"), f"expected another line than that of led_gpio, got {line} for both"
    frames = window_seconds(settings) * settings.camera.fps
    if frames < LEAST_SAMPLES:
        what = f"expected engagement.window_s x camera.fps of at least {LEAST_SAMPLES} frames, got {frames:g}"
        yield ("engagement", "window_s") if settings.engagement.window_s else ("camera", "fps"), what
    for index, hours in enumerate(settings.schedule):
        if hours.start == hours.end:
            yield ("schedule", index, "end"), f'expected another time than start, got "{hours.end}" twice'


def _incomplete(mqtt: Mqtt) -> Iterator[tuple[Key, str]]:
    """Yield what looks like TLS and would not be."""
    if not mqtt.tls:
        for name in ("ca_file", "cert_file", "key_file"):
            if getattr(mqtt, name) is not None:
                yield ("mqtt", name), "expected tls = true beside it, got tls = false, which would send in the clear"
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        have, lacks = ("cert_file", "key_file") if mqtt.cert_file else ("key_file", "cert_file")
        yield ("mqtt", have), f"expected {lacks} beside it, got none"
    if mqtt.password_file is not None and mqtt.username is None:
        yield ("mqtt", "password_file"), "expected username beside it, got none"
