"""A process of its own that publishes windows of many rooms: as fast as the broker takes them, or at a rate."""

import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from deploy.collector.bench.lessons import topic_of, window_of

_UNDER_WAY = 1000
"""Most messages not yet confirmed by the broker."""


def send(port: int, rooms: int, seconds: float, rate: float, first_seq: int = 1) -> int:
    """Publish for `seconds`; return how many windows. Every room's windows come in order, without a hole."""
    confirmed, epoch = 0, f"bench-{int(time.time())}"

    def on_publish(*_: object) -> None:
        nonlocal confirmed
        confirmed += 1

    client = mqtt.Client(CallbackAPIVersion.VERSION2, "sender", protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(_UNDER_WAY)
    client.on_publish = on_publish
    client.connect("127.0.0.1", port)
    client.loop_start()
    start, sent = time.monotonic(), 0
    while (spent := time.monotonic() - start) < seconds:
        if sent - confirmed >= _UNDER_WAY or (rate and sent >= rate * spent):
            time.sleep(0.001)
            continue
        room, seq = sent % rooms, first_seq + sent // rooms
        body = window_of(
            room, seq, int(time.time() * 1000), epoch=epoch, length_ms=max(1, int(1000 * rooms / (rate or 5000)))
        )
        client.publish(topic_of(room), body, qos=1)
        sent += 1
    while confirmed < sent:
        time.sleep(0.01)
    client.disconnect()
    client.loop_stop()
    return sent


if __name__ == "__main__":
    port_, rooms_, seconds_, rate_ = sys.argv[1:5]
    sys.stdout.write(f"{send(int(port_), int(rooms_), float(seconds_), float(rate_))}\n")
