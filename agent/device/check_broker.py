"""Checks of the way to the broker: name, TCP, TLS, password, publish loop-back, will, and what the ACL allows.

A client id of its own ("fer-<id>-doctor") keeps a running agent connected. What it publishes disturbs nobody: the
command "doctor" and a reply to it, and a will of session 0, which consumers ignore as older than any other. What the
agent's own topics would take is asked at QoS 2 and never released: the broker answers, and hands it to nobody.
"""

import queue
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import paho.mqtt.client as mqtt_client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from agent.config import Mqtt, Settings
from agent.delivery import discovery, link, security
from agent.delivery.topics import Topics
from agent.delivery.wire import Status
from agent.device.checks import Check, Finding, fail, good, warn

_WAIT_S: Final = 5.0
_MIN_ACL: Final = "deploy/mosquitto/fer.acl"
_ENDED: Final = "the broker ended the connection"
_WRITTEN: Final = ("window", "last", "meta", "event", "health")
"""What the agent publishes, besides replies and its status (the will shows that one)."""
_UNDER_WAY: Final = len(_WRITTEN) + 2
"""Most messages without an end that the broker must bear: these, Home Assistant's, and one that is answered at once."""
_NO_JSON: Final = b"doctor"
"""Where a broker hands on at QoS 2 what was not released, as the standard lets it: no consumer takes this for news."""


class _Refused(Exception):
    """The broker refused the connection, or is one that the agent cannot work with."""

    def __init__(self, why: str, mend: str) -> None:
        super().__init__(why)
        self.mend = mend


class _Client(mqtt_client.Client):
    """Connects once. Never releases what it sends at QoS 2, and keeps the broker's answer, of which paho keeps
    nothing."""

    inbox: "queue.Queue[Any]"
    asks = False
    """Whether the broker answers so: MQTT 5, and a broker that takes QoS 2, and so many at once."""
    ended = False
    """There is no connection any more. RabbitMQ ends it over what its ACL forbids, with MQTT 3.1.1."""

    def _handle_pubrec(self) -> MQTTErrorCode:
        packet = bytes(self._in_packet["packet"])
        code = ReasonCode(PacketTypes.PUBREC, identifier=packet[2] if len(packet) > 2 else 0)
        self.inbox.put(("pubrec", int.from_bytes(packet[:2], "big"), code))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def checks(settings: Settings) -> dict[str, Check]:
    """Return the check of the broker; its steps depend on each other, so it is one."""
    return {"mqtt": lambda: broker(settings)}


def broker(settings: Settings) -> Iterator[Finding]:
    """Go from the name to the ACL; stop at the first thing without which the next cannot work."""
    mqtt = settings.mqtt
    where = f"{mqtt.host}:{mqtt.port}"
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(mqtt.host, mqtt.port, type=socket.SOCK_STREAM)}
        yield good("mqtt.dns", f"{mqtt.host} is {', '.join(map(str, sorted(addresses, key=str)))}")
        with socket.create_connection((mqtt.host, mqtt.port), _WAIT_S) as plain:
            yield good("mqtt.tcp", f"{where} answers")
            yield from _tls(plain, mqtt)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no resolver takes, as broker..local
        why, mend = security.explained(error, mqtt)
        yield fail("mqtt.connect", why, mend or f"check mqtt.host and mqtt.port; nc -vz {mqtt.host} {mqtt.port}")
        return
    try:
        with _client(settings, "doctor") as (client, inbox):
            who = f"as {mqtt.username}" if mqtt.username else "without a user name"
            yield good("mqtt.auth", f"connected {who}, MQTT {mqtt.version}")
            yield from _loop_back(client, inbox, settings)
            if not client.ended:
                yield from _will(client, inbox, settings)
    except _Refused as error:
        yield fail("mqtt.auth", str(error), error.mend)


def _tls(plain: socket.socket, mqtt: Mqtt) -> Iterator[Finding]:
    """Shake hands, with the certificate and the host name checked."""
    context = security.context(mqtt)
    if context is None:
        local = mqtt.host in ("127.0.0.1", "::1", "localhost")
        yield (
            good("mqtt.tls", "off, on this machine")
            if local
            else warn(
                "mqtt.tls",
                "off: everything crosses the network in the clear",
                "deploy/mosquitto/certificates.sh; mqtt.tls = true",
            )
        )
        return
    with context.wrap_socket(plain, server_hostname=mqtt.host) as secure:
        certificate: dict[str, Any] = secure.getpeercert() or {}
        yield good("mqtt.tls", f"{secure.version()}, valid until {certificate.get('notAfter', 'unknown')}")


@contextmanager
def _client(
    settings: Settings, role: str, will: tuple[str, bytes] | None = None
) -> Iterator[tuple[Any, "queue.Queue[Any]"]]:
    """Yield a connected client and the queue of what it hears: ("message", topic, payload), ("puback", mid, code), …"""
    mqtt = settings.mqtt
    inbox: queue.Queue[Any] = queue.Queue()
    version = mqtt_client.MQTTv5 if mqtt.version == "5" else mqtt_client.MQTTv311
    name = f"fer-{settings.agent.id}-{role}"
    client = _Client(CallbackAPIVersion.VERSION2, name, protocol=version, reconnect_on_failure=False)

    def on_disconnect(*_: Any) -> None:
        client.ended = True
        inbox.put(("ended",))

    client.inbox, client.on_disconnect = inbox, on_disconnect
    client.on_connect = lambda _c, _u, _f, code, properties: inbox.put(("connect", code, properties))
    client.on_message = lambda _c, _u, message: inbox.put(("message", message.topic, message.payload))
    client.on_publish = lambda _c, _u, mid, code, _p: inbox.put(("puback", mid, code))
    client.on_subscribe = lambda _c, _u, mid, codes, _p: inbox.put(("suback", mid, codes))
    security.log_in(client, mqtt, security.password(mqtt))
    if (context := security.context(mqtt)) is not None:
        client.tls_set_context(context)
    if will is not None:
        client.will_set(will[0], will[1], qos=1)
    client.connect(mqtt.host, mqtt.port, keepalive=mqtt.keepalive_s)
    client.loop_start()
    try:
        answer = _wait(inbox, "connect")
        if answer is None:
            raise _Refused("the port answers, and not as a broker does", security.no_welcome(mqtt))
        if answer[1].is_failure:
            mend = link.MENDS.get(getattr(answer[1], "value", 0), "see the broker's log")
            raise _Refused(f"the broker refused: {answer[1]}", mend)
        if (lack := link.lack(answer[2])) is not None:
            raise _Refused(*lack)
        client.asks = (
            mqtt.version == "5"
            and getattr(answer[2], "MaximumQoS", 2) == 2
            and getattr(answer[2], "ReceiveMaximum", _UNDER_WAY) >= _UNDER_WAY
        )
        yield client, inbox
    finally:
        client.disconnect()
        client.loop_stop()


def _wait(inbox: "queue.Queue[Any]", kind: str, match: Any = None) -> Any:
    """Return the next news of `kind` (whose second part is `match`, if given); None after 5 s, or when the connection
    has ended."""
    end = time.monotonic() + _WAIT_S
    while (left := end - time.monotonic()) > 0:
        try:
            news = inbox.get(timeout=left)
        except queue.Empty:
            break
        if news[0] == kind and match in (None, news[1]):
            return news
        if news[0] == "ended":
            break
    return None


def _loop_back(client: Any, inbox: "queue.Queue[Any]", settings: Settings) -> Iterator[Finding]:
    """Subscribe to commands and send oneself one: brokers say "granted" to subscriptions that their ACL mutes."""
    topics = Topics.of(settings.agent)
    _, mid = client.subscribe(topics("cmd/#"), qos=1)
    granted = _wait(inbox, "suback", mid)
    may_read = f"add to the broker's ACL: pattern read {_pattern(topics('cmd/#'), settings)} (see {_MIN_ACL})"
    if client.ended:
        yield fail("mqtt.subscribe", f"{topics('cmd/#')}: {_ENDED}", may_read)
        return
    yield (found := _publish(client, inbox, settings, topics))
    if granted is not None and granted[2][0].is_failure:
        yield fail("mqtt.subscribe", f"{topics('cmd/#')}: the broker refused: {granted[2][0]}", may_read)
        return
    if client.ended or (found.verdict == "FAIL" and topics("cmd/doctor") in found.found):
        return
    # Sent again: the answer above may have come after the message itself and dropped it from the queue.
    client.publish(topics("cmd/doctor"), b"{}", qos=1)
    if _wait(inbox, "message", topics("cmd/doctor")) is None:
        # MQTT 3.1.1 cannot say that it was the command that was not taken.
        lines = [f"pattern read {_pattern(topics('cmd/#'), settings)}"]
        lines += [f"pattern write {_pattern(topics('cmd/doctor'), settings)}"] * (settings.mqtt.version != "5")
        mend = f"add to the broker's ACL: {', '.join(lines)} (see {_MIN_ACL})"
        yield fail("mqtt.subscribe", f"{topics('cmd/#')}: granted, and nothing arrives", mend)
    else:
        yield good("mqtt.subscribe", f"{topics('cmd/#')}: a message came back")


def _publish(client: Any, inbox: "queue.Queue[Any]", settings: Settings, topics: Topics) -> Finding:
    """Whether the broker takes what the agent publishes."""
    asked = [topics(name) for name in _WRITTEN] if client.asks else []
    asked += [discovery.topic(topics)] if client.asks and settings.mqtt.home_assistant else []
    denied: dict[str, str] = {}
    for topic in (topics("rsp/doctor"), topics("cmd/doctor"), *asked):
        sent = client.publish(topic, _NO_JSON if topic in asked else b"{}", qos=2 if topic in asked else 1)
        answer = _wait(inbox, "pubrec" if topic in asked else "puback", sent.mid)
        if answer is None or getattr(answer[2], "value", 0) >= link.REFUSED:
            silent = _ENDED if client.ended else "no answer"
            denied[topic] = silent if answer is None else str(answer[2])
        if answer is None:
            break
    if denied:
        lines = ", ".join(f"pattern write {_pattern(topic, settings)}" for topic in denied)
        why = ", ".join(f"{topic}: {reason}" for topic, reason in denied.items())
        return fail("mqtt.publish", why, f"add to the broker's ACL: {lines}")
    if not asked:
        found = f"{topics('rsp/doctor')} accepted; {', '.join(_WRITTEN)} not tried: that takes MQTT 5, QoS 2 "
        found += f"and {_UNDER_WAY} messages at once"
        mend = f"allow max_qos 2 and max_inflight_messages {_UNDER_WAY} on the broker"
        if settings.mqtt.version != "5":
            mend = 'set mqtt.version = "5" if the broker has it'
        return warn("mqtt.publish", found, f"{mend}, or compare the broker's ACL with {_MIN_ACL}")
    return good("mqtt.publish", f"{', '.join(asked)} and {topics('rsp/doctor')} accepted")


def _will(client: Any, inbox: "queue.Queue[Any]", settings: Settings) -> Iterator[Finding]:
    """Connect with a will, break the connection, and see whether the broker publishes it."""
    agent = settings.agent
    topic = Topics.of(agent)("status")
    mend = f"add to the broker's ACL: pattern readwrite {_pattern(topic, settings)}"
    _, mid = client.subscribe(topic, qos=1)
    _wait(inbox, "suback", mid)
    if client.ended:
        yield fail("mqtt.will", f"{topic}: {_ENDED}", mend)
        return
    payload = Status(
        schema="fer.status/1.0", agent=agent.id, site=agent.site, room=agent.room, state="lost", reason="doctor",
        session=0, boot_id="doctor", started_ms=0, epoch="doctor", newest_seq=0,
    ).encode()  # fmt: skip
    try:
        with _client(settings, "doctor-will", (topic, payload)) as (other, _):
            other.loop_stop()
            if (sock := other.socket()) is not None:
                sock.shutdown(socket.SHUT_RDWR)
            end = time.monotonic() + _WAIT_S
            while time.monotonic() < end:
                news = _wait(inbox, "message", topic)
                if news is None or news[2] == payload:
                    break
    except _Refused as error:  # the same login was taken without a will: it is the will's topic
        yield fail("mqtt.will", f"{topic}: {error}", mend)
        return
    if news is None:
        more = "; if it is there, this broker publishes no wills"
        yield fail("mqtt.will", f"{topic}: a lost device would not be noticed", mend + more)
    else:
        yield good("mqtt.will", "published when the connection broke")


def _pattern(topic: str, settings: Settings) -> str:
    """Return `topic` as an ACL pattern that fits every agent."""
    agent = settings.agent
    own = topic.replace(f"/{agent.site}/{agent.room}/{agent.id}/", "/+/+/%u/", 1)
    return own.replace(f"homeassistant/device/{agent.id}/", "homeassistant/device/%u/", 1)
