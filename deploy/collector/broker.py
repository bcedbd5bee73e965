"""The MQTT side: subscribes, queues what comes, confirms it to the broker once it is stored, publishes answers.

Law: paho's callbacks only put into a queue. A message is confirmed (PUBACK) by hand after the database has it, so
that what a killed collector had not stored is delivered again.
"""

import json
import logging
import queue
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.config import Mqtt
from agent.delivery.identity import Contest
from agent.delivery.link import CLOSED, HUNG_UP, REFUSED, lack
from agent.delivery.security import Names, explain, mends, no_welcome
from agent.errors import ConfigError, FerAgentError
from deploy.collector.client import Client
from deploy.collector.messages import Source
from deploy.collector.refusals import Refusals

log = logging.getLogger("fer.collector")

OPTIONS: Final = Names("--host", "--ca-file", "--port", "--tls", "--mqtt-version 3.1.1")
RECEIVE_MAXIMUM: Final = 4000
"""Unconfirmed messages that the broker may have under way to us; also the bound of our queue."""
_SESSION_S: Final = 24 * 3600
"""How long the broker keeps a lone collector's queue, seconds."""
_MOST_QUEUED: Final = 20_000
"""Beyond this, unconfirmed-for-nothing messages (QoS 0: health) are dropped."""
_RECONNECT_S: Final = (1, 30)
"""Shortest and longest pause between two tries to connect, seconds."""
_RARELY_S: Final = 30
"""The same where each connection ends over the same thing, seconds."""
_BRIEF_S: Final = 10.0
"""A connection that had all its answers and ends sooner was taken, or the broker is started anew."""
_TAKEN: Final = 3
"""So many of them in a row were taken."""
_ASKS: Final = (20, 200)
"""Fewest and most questions of one round, as the broker is slow or quick to take what is published: what everybody's
acks would wait behind must not grow with the holes of one device."""
_QUIET_S: Final = 0.02
"""Nothing more will come soon after so long without a message, seconds."""
EVERY_WINDOW: Final = "fer/v1/+/+/+/window"
_EVERYONE: Final = tuple(f"fer/v1/+/+/+/{kind}" for kind in ("status", "meta", "event", "health", "rsp/resend"))
"""Topics that every collector needs, shared group or not."""
_EVERY_ACK: Final = "fer/v1/+/+/+/ack"
_EVERY_COMMAND: Final = "fer/v1/+/+/+/cmd/#"
_NO_SHARES: Final = 158
_MENDS: Final = mends("--username and --password-file", f"give {OPTIONS.old}")
"""Reason code of a refusal → what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is, and as whom."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    version: str = "5"
    """MQTT 5, or "3.1.1": that one knows no reasons, no answers to a question, and no groups."""
    name: str = "1"
    """This collector's own name; two collectors must not share it."""
    share: str | None = None
    """Group of collectors that share the windows between them; None is a lone collector."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as it came."""

    topic: str
    payload: bytes
    qos: int
    mid: int
    connection: int
    """Which connection brought it: a confirmation counts for that one only."""
    retained: bool = False
    """A copy that the broker had kept: nobody says this now."""
    correlation: bytes | None = None
    """Of an answer: which question it is to."""


class Broker:
    """A connection that comes back by itself. Publishing and confirming are for one thread, the ingest's."""

    def __init__(self, address: Address) -> None:
        """Raises ConfigError for a --ca-file that is no certificate."""
        self._address = address
        self._queue: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._connection = 0
        self.connected = False
        self.hears_windows = False
        """Whether the broker has granted reading windows, on this connection. (One may grant it and yet send none.)"""
        self._said = ""
        self._refused = self._warned = False
        """The broker said no to this connection, and was quoted; what MQTT 3.1.1 lacks was said."""
        self._published: dict[int, str] = {}
        """Packet numbers that the broker has not answered, and what the ACL calls their topics."""
        self._answers: queue.SimpleQueue[tuple[int | None, Any]] = queue.SimpleQueue()
        """Packet number and answer; no number: the broker ended the connection, and whether it did so before it had
        answered what is to be read, or (None) it has answered that."""
        self._asked = False
        """What is to be read has had no answer on this connection."""
        self._refusals = Refusals(address.username)
        self._contest = Contest(_BRIEF_S, _TAKEN)
        self.acl_line = self._refusals.acl_line
        self._five = address.version == "5"
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            f"fer-collector-{address.name}",
            clean_session=None if self._five else False,
            protocol=mqtt.MQTTv5 if self._five else mqtt.MQTTv311,
            manual_ack=True,
        )
        self._client.reconnect_delay_set(*_RECONNECT_S)
        if address.username:
            self._client.username_pw_set(address.username, address.password)
        if address.tls:
            try:
                self._client.tls_set(ca_certs=str(address.ca_file) if address.ca_file else None)
            except OSError as error:  # ssl.SSLError is one
                raise ConfigError(f"--ca-file: expected a PEM certificate, got {address.ca_file}: {error}") from error
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = lambda _, __, mid, reason, ___: self._answers.put((mid, reason))

    def __enter__(self) -> Self:
        more: dict[str, Any] = {}
        if self._five:
            properties = Properties(PacketTypes.CONNECT)
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            alone = self._address.share is None
            # A group's broker would go on queueing for a member that is gone; what it had comes again by `resend`.
            properties.SessionExpiryInterval = _SESSION_S if alone else 0
            more = {"clean_start": not alone, "properties": properties}
        self._client.connect_async(self._address.host, self._address.port, keepalive=20, **more)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def take(self, most: int, wait_s: float, linger_s: float) -> list[Delivery]:
        """Return up to `most` messages: wait for the first, then gather for `linger_s`, or until it is quiet: a broker
        may wait for our confirmation before it sends on (ejabberd after each message, RabbitMQ after ten).

        Raises FerAgentError if the thread that should bring them is dead.
        """
        self._read_answers()
        try:
            batch = [self._queue.get(timeout=wait_s)]
        except queue.Empty:
            if (dead := self._client.failure) is not None:
                raise FerAgentError(
                    f"collector: the thread that talks to the broker died of {type(dead).__name__}: {dead}"
                ) from dead
            return []
        until = time.monotonic() + linger_s
        while len(batch) < most:
            left = until - time.monotonic()
            try:
                batch.append(self._queue.get(timeout=min(left, _QUIET_S)) if left > 0 else self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def confirm(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that these are safe."""
        for delivery in deliveries:
            if delivery.qos and delivery.connection == self._connection and self.connected:
                self._client.ack(delivery.mid, delivery.qos)

    @property
    def questions_left(self) -> int:
        """How many may be asked now."""
        return max(_ASKS[0], _ASKS[1] - len(self._published))

    def publish_ack(self, source: Source, epoch: str, upto: int) -> None:
        """Tell an agent that it may forget its windows up to `upto`."""
        body = json.dumps({"epoch": epoch, "upto_seq": upto})
        sent = self._client.publish(f"{_root(source)}/ack", body, qos=1, retain=True)
        self._published[sent.mid] = _EVERY_ACK

    def ask_resend(self, source: Source, first: int, last: int) -> bytes | None:
        """Ask an agent to send windows again; return what its answer will carry. (MQTT 3.1.1 has nothing for that.)"""
        correlation = properties = None
        if self._five:
            correlation, properties = uuid.uuid4().bytes, Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic = f"{_root(source)}/rsp/resend"
            properties.CorrelationData = correlation
            properties.MessageExpiryInterval = 30
        body = json.dumps({"from": first, "to": last})
        sent = self._client.publish(f"{_root(source)}/cmd/resend", body, qos=1, properties=properties)
        self._published[sent.mid] = _EVERY_COMMAND
        return correlation

    def _on_connect(self, client: Client, _: Any, __: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refused = True
            mend = _MENDS.get(reason.value)
            return self._say(f"event=broker.refused reason={str(reason)!r}" + (f" action={mend!r}" if mend else ""))
        lacking = lack(properties)
        if self._address.share and getattr(properties, "SharedSubscriptionAvailable", 1) == 0:
            lacking = "the broker has no shared subscriptions", "leave --share out"
        if lacking is not None:  # it would end the connection for what it cannot do, again and again
            self._refused = True
            return self._say(f"event=broker.refused reason={lacking[0]!r} action={lacking[1]!r}")
        client.heed(properties)
        self._connection += 1
        self.connected = True
        self._say("event=broker.connected")
        if not self._five and not self._warned:
            self._warned = True
            log.warning("event=broker.old MQTT 3.1.1 hides what the broker's ACL refuses: acks and commands may vanish")
        self._asked = True
        client.subscribe([(topic, 1) for topic in self._topics()])
        return None

    def _topics(self) -> list[str]:
        group = f"$share/{self._address.share}/" if self._address.share else ""
        return [f"{group}{EVERY_WINDOW}", *_EVERYONE]

    def _on_subscribe(self, _: Any, __: Any, ___: Any, reasons: Sequence[Any], ____: Any) -> None:
        self._asked = False
        self._contest.begun(time.monotonic())
        self._answers.put((None, None))
        self.hears_windows = reasons[0].value < REFUSED
        if self.hears_windows:
            self._say("event=broker.subscribed")
        for topic, reason in zip(self._topics(), reasons, strict=False):
            mend = f"allow {self.acl_line('read', topic[topic.index('fer/') :])} and start the collector again"
            if reason.value == _NO_SHARES:
                mend = "leave --share out: this broker has no shared subscriptions"
            self._refusals.note("reading", topic, reason.value, str(reason), mend)

    def _read_answers(self) -> None:
        """Look at what the broker said to what was published. Here, not in the callback: `publish` may not yet have
        told the number of what is answered already."""
        while not self._answers.empty():
            mid, reason = self._answers.get()
            if mid is None and reason is None:
                if self._refusals.heard() and not self._contest.on:
                    self._client.reconnect_delay_set(*_RECONNECT_S)
            elif mid is None:
                if self._refusals.ended(self._published.values(), unheard=reason):
                    self._client.reconnect_delay_set(_RARELY_S, _RARELY_S)
            elif (topic := self._published.pop(mid, None)) is not None and self._refusals.answered(
                topic, reason.value, str(reason)
            ):
                self._client.reconnect_delay_set(*_RECONNECT_S)

    def _on_connect_fail(self, _: Any, __: Any) -> None:
        reason = sys.exc_info()[1]  # paho calls this while it handles what failed
        told = explain(reason, self._where(), OPTIONS) if reason else None
        self._say(f"event=broker.away reason={told!r} action='trying again'")

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        ended, refused = self.connected, self._refused
        self.connected = self.hears_windows = self._refused = False
        if ended:
            told = str(reason)
            if told == CLOSED:
                self._answers.put((None, self._asked))
                told = HUNG_UP
            self._say(f"event=broker.disconnected reason={told!r}")
            if not self._asked and not self._published:  # else it may be that over which it ended
                if self._contest.ended(time.monotonic()):
                    mend = f"another collector may be called {self._address.name}: give each a --name of its own"
                    log.error(
                        "event=broker.contested reason='ends each connection soon after it began' action=%r", mend
                    )
                self._client.reconnect_delay_set(*((_RARELY_S, _RARELY_S) if self._contest.on else _RECONNECT_S))
        elif not refused:  # what ends after a refusal is no news, and would be told with it at every try
            mend = f"trying again; {no_welcome(self._where(), OPTIONS)}"
            self._say(f"event=broker.away reason='ended the connection without an answer' action={mend!r}")

    def _where(self) -> Mqtt:
        a = self._address
        return Mqtt.model_validate({"host": a.host, "port": a.port, "version": a.version, "tls": a.tls})

    def _on_message(self, _: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        if message.qos == 0 and self._queue.qsize() > _MOST_QUEUED:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        correlation = getattr(message.properties, "CorrelationData", None)
        self._queue.put(
            Delivery(topic, message.payload, message.qos, message.mid, self._connection, message.retain, correlation)
        )

    def _say(self, line: str) -> None:
        """Log a change, not a state."""
        if line != self._said:
            self._said = line
            log.info("%s host=%s port=%d", line, self._address.host, self._address.port)


def _root(source: Source) -> str:
    return f"fer/v1/{source.site}/{source.room}/{source.agent}"
