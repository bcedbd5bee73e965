"""paho's client with two faults mended: it hides what its thread dies of, and sends more than the broker takes."""

from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MessageState, MQTTErrorCode

_MOST_IN_FLIGHT: Final = 1000
"""Messages without an answer at once, if the broker takes so many."""
_NOT_SAID: Final = 65_535
"""What a broker takes that names no Receive Maximum (MQTT 5, 3.2.2.3.3)."""
_UNKNOWN_YET: Final = 1
"""What every broker takes: the least Receive Maximum there is."""


class Client(mqtt.Client):
    """Keeps what its thread dies of: paho would go on as if nothing were. Never has more messages without an answer
    under way than the broker takes; such a broker would end the connection, and every later one, too."""

    failure: Exception | None = None

    def loop_forever(self, *args: Any, **more: Any) -> MQTTErrorCode:
        try:
            return super().loop_forever(*args, **more)
        except Exception as error:
            self.failure = error
            raise

    def reconnect(self) -> MQTTErrorCode:
        self._max_inflight_messages = _UNKNOWN_YET  # until this broker has said it: it may be another one
        return super().reconnect()

    def heed(self, properties: Any) -> None:
        """Send what waits, as much of it as the broker's welcome allows. For `on_connect`, which paho calls first:
        right after it paho sends again what had no answer, all at once."""
        with self._out_message_mutex:
            self._max_inflight_messages = min(_MOST_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _NOT_SAID))
            for message in self._out_messages.values():
                # As a queued one paho leaves it alone; each answer then lets one more go.
                if message.state == MessageState.MQTT_MS_PUBLISH:
                    message.state = MessageState.MQTT_MS_QUEUED
            self._update_inflight()
