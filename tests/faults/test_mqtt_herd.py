"""Many agents come back at once: their births are spread (fault 18)."""

import json
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from agent.config import Mqtt
from agent.simulation.rooms import SimulatedRooms
from tests.mqtt_world import Mosquitto, wait_until


class Clerk:
    """Notes when each agent's birth came."""

    def __init__(self, port: int) -> None:
        self.births: list[tuple[float, str]] = []
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda c, *_: c.subscribe("fer/v1/+/+/+/status", options=paho.SubscribeOptions(1))
        client.on_message = self._note
        client.connect("127.0.0.1", port)
        client.loop_start()
        self.client = client

    def _note(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        status = json.loads(message.payload) if message.payload else {}
        if status.get("state") in ("init", "ready", "degraded", "paused"):
            self.births.append((time.monotonic(), status["agent"]))


def _restart(folder: Path, rooms: int) -> dict[str, float]:
    """Restart the broker under so many rooms; how their births were spread, seconds."""
    with Mosquitto(folder / "broker", "max_queued_messages 0") as broker:
        clerk = Clerk(broker.port)
        mqtt = Mqtt(host="127.0.0.1", port=broker.port)
        with SimulatedRooms(mqtt, rooms, window_s=600, trouble=0) as simulated:
            wait_until(lambda: simulated.tally.connected == rooms, 180, "all connected")
            time.sleep(1)
            broker.restart()
            back = time.monotonic()
            wait_until(lambda: clerk.client.is_connected(), 20)
            clerk.births.clear()
            # Whoever came before the clerk shows as a retained birth.
            wait_until(lambda: len({agent for _, agent in clerk.births}) == rooms, 180, "all came back")
        clerk.client.disconnect()
        clerk.client.loop_stop()
    first: dict[str, float] = {}
    for at, agent in clerk.births:
        first.setdefault(agent, at)
    came = sorted(at - back for at in first.values())
    seconds = [sum(s <= at < s + 1 for at in came) for s in range(60)]
    return {"rooms": rooms, "spread_s": came[-1] - came[rooms // 50], "most_in_a_second": max(seconds)}


def test_200_agents_come_back_one_by_one(tmp_path: Path) -> None:
    """Fault 18. 200 rooms after a restart of the broker: births over at least 20 s, no second with a fifth of them."""
    told = _restart(tmp_path, 200)
    print(told)
    assert told["spread_s"] >= 20
    assert told["most_in_a_second"] < 40


@pytest.mark.long
def test_1000_rooms_come_back_over_20_seconds(tmp_path: Path) -> None:
    """1,000 simulated rooms in one process: the same."""
    told = _restart(tmp_path, 1000)
    print(told)
    assert told["spread_s"] >= 20
    assert told["most_in_a_second"] < 200
