"""A small collector, written from the contract alone: dedupes, orders, detects gaps, asks for resends, and acks."""

import json
import queue
import secrets
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.mqtt_world import wait_until

_ASK_AFTER_S = 0.5
"""A hole younger than this may be a message under way."""


@dataclass
class Stream:
    """What is known of one (agent, epoch)."""

    windows: dict[int, dict] = field(default_factory=dict)
    gaps: dict[int, str] = field(default_factory=dict)
    root: str = ""
    newest: int = 0
    upto: int = 0
    hole_since: float | None = None

    def advance(self) -> bool:
        """Move `upto` over all that is known; whether it moved."""
        before = self.upto
        while self.upto + 1 in self.windows or self.upto + 1 in self.gaps:
            self.upto += 1
        return self.upto > before


class ReferenceSubscriber:
    """Context manager. `acks=False` makes it a dashboard that only listens."""

    def __init__(self, port: int, *, acks: bool = True, client_id: str | None = None, host: str = "127.0.0.1") -> None:
        self.streams: dict[tuple[str, str], Stream] = defaultdict(Stream)
        self.log: list[tuple[str, bytes, bool]] = []
        self.duplicates = 0
        self.conflicts: list[tuple[str, str, int]] = []
        self.resends = 0
        self._acks, self._host, self._port = acks, host, port
        self._inbox: queue.SimpleQueue = queue.SimpleQueue()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id or f"ref-{secrets.token_hex(4)}", protocol=paho.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda c, *_: c.subscribe([("fer/v1/#", 1), ("homeassistant/#", 1)])
        self._client.on_message = lambda _c, _u, m: self._inbox.put((m.topic, m.payload, m.retain))
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._subscribed, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "ReferenceSubscriber":
        self._client.connect(self._host, self._port, 20)
        self._client.loop_start()
        self._thread.start()
        assert self._subscribed.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def stream(self, agent: str = "fer") -> Stream:
        """The stream of the only epoch of `agent`."""
        found = [s for (name, _), s in list(self.streams.items()) if name == agent]
        assert len(found) <= 1, "the epoch changed"
        return found[0] if found else Stream()

    def windows(self) -> list[dict]:
        """All windows so far."""
        return [window for stream in list(self.streams.values()) for window in list(stream.windows.values())]

    def payloads(self, name: str) -> list[dict]:
        """All messages so far whose topic ends with `name`, as JSON."""
        return [json.loads(body) for topic, body, _ in list(self.log) if topic.endswith(f"/{name}") and body]

    def newest(self, name: str) -> dict:
        """The newest message whose topic ends with `name`; empty if there is none yet."""
        return next(iter(self.payloads(name)[-1:]), {})

    def publish(self, topic: str, body: bytes, *, retain: bool = False, **properties: object) -> None:
        """Say something, with MQTT 5 properties by their paho names."""
        made = Properties(PacketTypes.PUBLISH)
        for key, value in properties.items():
            setattr(made, key, value)
        wait_until(self._client.is_connected, 60)
        self._client.publish(topic, body, 1, retain, properties=made).wait_for_publish(5)

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._take(*self._inbox.get(timeout=0.05))
                while True:
                    self._take(*self._inbox.get_nowait())
            except (queue.Empty, ValueError):  # whoever sends what is no JSON is not listened to
                pass
            if self._acks:
                self._look_for_holes()

    def _take(self, topic: str, body: bytes, retained: bool) -> None:
        self.log.append((topic, body, retained))
        parts = topic.split("/")
        if parts[0] != "fer" or not body:
            return
        root = "/".join(parts[:5])
        if parts[5] == "window":
            self._window(json.loads(body), root)
        elif parts[5] == "event" and (event := json.loads(body))["kind"] == "gap":
            stream = self._of(event, root)
            for seq in range(event["from"], event["to"] + 1):
                stream.gaps.setdefault(seq, event["reason"])
            stream.newest = max(stream.newest, event["to"])
        elif parts[5] == "status" and (status := json.loads(body))["newest_seq"]:
            stream = self._of(status, root)
            stream.newest = max(stream.newest, status["newest_seq"])

    def _of(self, payload: dict, root: str) -> Stream:
        stream = self.streams[payload["agent"], payload["epoch"]]
        stream.root = root
        return stream

    def _window(self, window: dict, root: str) -> None:
        stream = self._of(window, root)
        seq = window["seq"]
        if seq in stream.windows:
            self.duplicates += 1
            if {**stream.windows[seq], "replay": 0} != {**window, "replay": 0}:
                self.conflicts.append((window["agent"], window["epoch"], seq))
            return
        stream.windows[seq] = window
        stream.newest = max(stream.newest, seq)

    def _look_for_holes(self) -> None:
        now = time.monotonic()
        for (_, epoch), stream in list(self.streams.items()):
            root = stream.root
            if stream.advance():
                stream.hole_since = None
                ack = json.dumps({"epoch": epoch, "upto_seq": stream.upto}).encode()
                self._client.publish(f"{root}/ack", ack, 1, retain=True)
            if stream.upto >= stream.newest:
                stream.hole_since = None
            elif stream.hole_since is None:
                stream.hole_since = now
            elif now - stream.hole_since > _ASK_AFTER_S:
                stream.hole_since = now
                known = stream.windows.keys() | stream.gaps.keys()
                last = next((s for s in range(stream.upto + 1, stream.newest + 1) if s in known), stream.newest + 1) - 1
                self.resends += 1
                ask = json.dumps({"from": stream.upto + 1, "to": last}).encode()
                self._client.publish(f"{root}/cmd/resend", ask, 1)
