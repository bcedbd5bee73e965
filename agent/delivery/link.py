"""One connection to a broker. paho's callbacks only enqueue: an exception in one would kill its thread silently."""

import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.config import Mqtt
from agent.delivery.security import KEYS, log_in, mends, no_welcome

SESSION_EXPIRY_S: Final = 3600
WILL_DELAY_S: Final = 10
_CONNECT_TIMEOUT_S: Final = 5.0
CLOSED: Final = "Unspecified error"
"""What paho says of a connection that the other side ended without a word."""
HUNG_UP: Final = "the broker closed the connection"
"""What is said of it instead."""
REFUSED: Final = 128
"""MQTT 5 reason codes from here on mean no."""
_NO_REASON: Final = (CLOSED, "Protocol error")
"""What paho says of a connection that ended, or spoke something else, without a word of MQTT."""
_SILENT: Final = "Keep alive timeout"
"""What it says of one on which nothing came."""
_IN_FLIGHT: Final = 20
"""Most messages of QoS 1 without an answer, if the broker takes so many: paho's own number."""
MENDS: Final = {
    **mends("mqtt.username and mqtt.password_file", f"set {KEYS.old}"),
    144: "allow mqtt.username to write the agent's own status, the topic of its will, in the broker's ACL",
    154: "set retain_available true there",
    155: "set max_qos 1 or more there",
}
"""Reason code of a refusal → what to do, in mosquitto's words."""
_NEEDED: Final = {
    "RetainAvailable": ("keeps no retained messages", "set retain_available true"),
    "MaximumQoS": ("takes QoS 0 alone", "set max_qos 1 or more"),
    "WildcardSubscriptionAvailable": ("takes no wildcard in a subscription", "allow wildcards"),
}
"""Property of a broker's welcome that must not be 0 → what 0 means, what to do there."""
_PACKET_OVERHEAD: Final = 64
"""Bytes of a packet besides topic, payload and correlation data, at most."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker said welcome."""

    max_packet: int | None
    """Largest packet that the broker takes, bytes; None if it did not say."""


@dataclass(frozen=True, slots=True)
class Closed:
    """There is no connection any more, or there never was one."""

    reason: str
    by_broker: bool
    """The broker ended it (then it ended everybody's), not the network."""
    taken_over: bool = False
    """Somebody else connected with this client id."""
    refused: bool = False
    """The broker answered and said no."""
    too_large: bool = False
    """We sent a packet that is larger than the broker takes."""
    garbled: bool = False
    """The broker answered in a way that paho takes for no MQTT, as mosquitto does to what is over its
    message_size_limit: with a PUBACK whose reason (149) the standard has for other packets."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A publish was answered."""

    mid: int
    code: int
    """0 well, 16 nobody listens, 135 not authorised, 149 too large, …"""
    text: str


@dataclass(frozen=True, slots=True)
class Granted:
    """A subscribe was answered."""

    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A message came."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None
    correlation: bytes | None


@dataclass(frozen=True, slots=True)
class Note:
    """One message to a link's owner. A note of a link that was given up is old news."""

    link: "Link"
    news: Connected | Closed | Answered | Granted | Received


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says when this connection dies."""

    topic: str
    payload: bytes


class Link:
    """A client that connects once and never again: each connection has its own, with its own will.

    All methods are called by one thread, the owner's; `notify` is called by paho's and must only enqueue.
    """

    def __init__(
        self, mqtt: Mqtt, client_id: str, tls: ssl.SSLContext | None, password: str | None, will: Will
    ) -> None:
        self._mqtt = mqtt
        self._five = mqtt.version == "5"
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self._five else False,
            protocol=paho.MQTTv5 if self._five else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        self._welcome = False
        self._client.connect_timeout = _CONNECT_TIMEOUT_S
        if tls is not None:
            self._client.tls_set_context(tls)
        log_in(self._client, mqtt, password)
        delay = self._properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
        self._client.will_set(will.topic, will.payload, qos=1, retain=True, properties=delay)

    def open(self, notify: Callable[[Note], None]) -> None:
        """Connect TCP and TLS; the broker's welcome comes as a note. Raises OSError (ssl.SSLError is one)."""
        self._set_callbacks(notify)
        more: dict[str, Any] = {}
        if self._five:
            more = {
                "clean_start": False,
                "properties": self._properties(PacketTypes.CONNECT, SessionExpiryInterval=SESSION_EXPIRY_S),
            }
        try:
            self._client.connect(self._mqtt.host, self._mqtt.port, self._mqtt.keepalive_s, **more)
        except OSError:
            self._let_go()
            raise
        self._begin()

    def _begin(self) -> None:
        """Have the network served from now on: by a thread of paho's."""
        self._client.loop_start()

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: int | None = None,
        correlation: bytes | None = None,
    ) -> int:
        """Send; return the packet's number, which `Answered` names if qos is 1."""
        more: dict[str, Any] = {"ContentType": "application/json"}
        if expiry_s is not None:
            more["MessageExpiryInterval"] = expiry_s
        if correlation is not None:
            more["CorrelationData"] = correlation
        properties = self._properties(PacketTypes.PUBLISH, **more)
        return self._client.publish(topic, payload, qos, retain, properties=properties).mid

    def subscribe(self, topics: list[str]) -> None:
        """Ask for topics at QoS 1."""
        self._client.subscribe([(topic, 1) for topic in topics])

    def close(self, *, fire_will: bool = False) -> None:
        """Say goodbye and wait for paho's thread. With `fire_will` the broker publishes the will (0x04)."""
        if fire_will and self._five:
            self._client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        elif not fire_will:
            self._client.disconnect()
        elif (sock := self._client.socket()) is not None:
            sock.close()  # MQTT 3.1.1 has no other way to die with a will
        self._client.loop_stop()
        self._let_go()

    def _let_go(self) -> None:
        """Break the circle of client, callbacks and link: paho closes its wake-up sockets when the client is freed, and
        the garbage collector may come so rarely that a day without a broker uses up the descriptors."""
        c = self._client
        c.on_connect = c.on_disconnect = c.on_publish = c.on_subscribe = c.on_message = None

    def _set_callbacks(self, notify: Callable[[Note], None]) -> None:
        def on_connect(client: Any, _u: Any, _f: Any, code: Any, properties: Any) -> None:
            if code.is_failure:
                mend = MENDS.get(getattr(code, "value", 0))
                why = f"the broker refused: {code}" + (f"; {mend}" if mend else "")
                notify(Note(self, Closed(why, by_broker=False, refused=True)))
            elif (lacking := lack(properties)) is not None:
                notify(Note(self, Closed("; ".join(lacking), by_broker=False, refused=True)))
            else:
                self._welcome = True
                # paho does not look at it, and lets its own number be changed only while there is no connection.
                client._max_inflight_messages = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))
                limit = getattr(properties, "MaximumPacketSize", None)
                notify(Note(self, Connected(limit)))

        def on_disconnect(_c: Any, _u: Any, flags: Any, code: Any, _p: Any) -> None:
            value, text = getattr(code, "value", code), str(code)
            by_broker = bool(flags.is_disconnect_packet_from_server) or text == CLOSED
            if not self._welcome and (text in _NO_REASON or text == _SILENT):
                how = "does not answer as a broker" if text == _SILENT else "ended the connection without an answer"
                text = f"{self._mqtt.host}:{self._mqtt.port} {how}: {no_welcome(self._mqtt)}"
            elif text == CLOSED:
                text = HUNG_UP
            garbled = self._welcome and value == 130 and not flags.is_disconnect_packet_from_server
            notify(Note(self, Closed(text, by_broker, value == 142, too_large=value == 149, garbled=garbled)))

        def on_publish(_c: Any, _u: Any, mid: int, code: Any, _p: Any) -> None:
            notify(Note(self, Answered(mid, getattr(code, "value", 0), str(code))))

        def on_subscribe(_c: Any, _u: Any, _mid: int, codes: Any, _p: Any) -> None:
            notify(Note(self, Granted(tuple(getattr(code, "value", code) for code in codes))))

        def on_message(_c: Any, _u: Any, message: Any) -> None:
            with contextlib.suppress(UnicodeDecodeError):  # of a topic: raised here, it would end paho's thread
                notify(Note(self, _received(message)))

        c = self._client
        c.on_connect, c.on_disconnect, c.on_publish = on_connect, on_disconnect, on_publish
        c.on_subscribe, c.on_message = on_subscribe, on_message

    def _properties(self, packet: int, **values: Any) -> Properties | None:
        """MQTT 5 properties; None on 3.1.1, which has none."""
        if not self._five:
            return None
        made = Properties(packet)  # type: ignore[no-untyped-call]
        for name, value in values.items():
            setattr(made, name, value)
        return made


def lack(properties: Any) -> tuple[str, str] | None:
    """What a broker that says welcome does not do, of that without which nothing works; and what to do about it."""
    for name, (lacks, mend) in _NEEDED.items():
        if getattr(properties, name, 1) == 0:
            return f"the broker {lacks}", f"{mend} on the broker"
    return None


def size(topic: str, body: bytes, correlation: bytes | None = None) -> int:
    """Bytes of a packet, at most."""
    return len(topic.encode()) + len(body) + len(correlation or b"") + _PACKET_OVERHEAD


def _received(message: Any) -> Received:
    """paho's message as ours."""
    properties = message.properties
    return Received(
        message.topic,
        message.payload,
        bool(message.retain),
        getattr(properties, "ResponseTopic", None),
        getattr(properties, "CorrelationData", None),
    )
