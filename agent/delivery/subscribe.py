"""Read windows back from a broker, for people who look at them: `fer-agent tail`, the demo, tests."""

import contextlib
import queue
import secrets
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.config import Mqtt
from agent.delivery import security
from agent.errors import ConfigError, InputError, UnavailableError

_MENDS: Final = security.mends(f"--username and {security.PASSWORD_VARIABLE}", f"give {security.OPTIONS.old}")
"""Reason code of a refusal → what to do."""


class Message(NamedTuple):
    """One message as it came."""

    topic: str
    payload: bytes
    retained: bool


class Subscriber:
    """Context manager; iterate it with `messages`. Reconnects by itself once it was connected."""

    def __init__(self, mqtt: Mqtt, topics: list[str]) -> None:
        self._mqtt, self._topics = mqtt, topics
        self._inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        five = mqtt.version == "5"
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            f"fer-tail-{secrets.token_hex(4)}",
            protocol=paho.MQTTv5 if five else paho.MQTTv311,
        )
        self._ready: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Connect and subscribe.

        Raises UnavailableError if the broker is not there, refuses, or is none, InputError for a CA file that is none.
        """
        client, mqtt = self._client, self._mqtt
        try:
            tls = security.context(mqtt, security.OPTIONS)
        except ConfigError as error:  # the file of an option is an input, no configuration
            raise InputError(str(error)) from error
        if tls is not None:
            client.tls_set_context(tls)
        security.log_in(client, mqtt, security.password(mqtt))
        self._set_callbacks()
        try:
            client.connect(mqtt.host, mqtt.port, mqtt.keepalive_s)
        except (OSError, ValueError) as error:
            raise UnavailableError(security.explain(error, mqtt, security.OPTIONS)) from error
        client.loop_start()
        try:
            refusal = self._ready.get(timeout=10)
        except queue.Empty:
            where = f"{mqtt.host}:{mqtt.port}"
            refusal = f"{where} does not answer as a broker: {security.no_welcome(mqtt, security.OPTIONS)}"
        if refusal is not None:
            client.loop_stop()
            raise UnavailableError(refusal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def get(self, timeout: float | None = None) -> Message | None:
        """The next message, or None after `timeout` seconds without one."""
        try:
            return self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None

    def messages(self) -> Iterator[Message]:
        """All messages as they come, until `stop`."""
        while (message := self.get()) is not None:
            yield message

    def stop(self) -> None:
        """End `messages`, from any thread."""
        self._inbox.put(None)

    def _set_callbacks(self) -> None:
        where = f"{self._mqtt.host}:{self._mqtt.port}"

        welcome = False

        def on_connect(client: Any, _u: Any, _f: Any, code: Any, properties: Any) -> None:
            nonlocal welcome
            if code.is_failure:
                mend = _MENDS.get(code.value)
                self._ready.put(f"the broker refused: {code}" + (f"; {mend}" if mend else ""))
            elif getattr(properties, "WildcardSubscriptionAvailable", 1) == 0:
                self._ready.put(f"{where} takes no wildcard in a subscription; allow them on the broker")
            else:
                welcome = True
                client.subscribe([(topic, 1) for topic in self._topics])

        def on_disconnect(*_: Any) -> None:
            # Before the first answer to `subscribe` only; later ones are reconnected and nobody reads this queue.
            if welcome:  # RabbitMQ's way to say no, with MQTT 3.1.1
                who = self._mqtt.username or "the anonymous user"
                why = f"does its ACL let {who} read {', '.join(self._topics)}?"
                self._ready.put(f"{where} ended the connection over what is to be read: {why}")
                return
            why = security.no_welcome(self._mqtt, security.OPTIONS)
            self._ready.put(f"{where} ended the connection without an answer: {why}")

        def on_subscribe(_c: Any, _u: Any, _mid: int, codes: Any, _p: Any) -> None:
            refused = [str(code) for code in codes if code.is_failure]
            self._ready.put(
                f"{where} does not let us read {', '.join(self._topics)}: {refused[0]}" if refused else None
            )

        def on_message(_c: Any, _u: Any, message: Any) -> None:
            with contextlib.suppress(UnicodeDecodeError):  # of a topic: raised here, it would end paho's thread
                # amqtt sends what is retained on other topics, too.
                if any(paho.topic_matches_sub(asked, message.topic) for asked in self._topics):
                    self._inbox.put(Message(message.topic, message.payload, message.retain))

        self._client.on_connect, self._client.on_subscribe = on_connect, on_subscribe
        self._client.on_message, self._client.on_disconnect = on_message, on_disconnect
