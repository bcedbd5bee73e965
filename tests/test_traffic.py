"""Everything that goes over the wire in full runs keeps the contract: fields, sizes, and nothing under k_min."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import Mqtt
from agent.delivery.publish import Publisher
from agent.simulation.rooms import SimulatedRooms
from deploy.collector.messages import Refused, parse_message
from tests.contract import Judge
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, summary, wait_until
from tests.reference_subscriber import ReferenceSubscriber

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    ("ping", b""),
    ("pause", b"{}"),
    ("resume", b"{}"),
    ("model-install", b'{"bundle": "b"}'),
    ("resend", b'{"from": 1, "to": 400}'),
    ("resend", b"\xff\xfe"),
    ("ping", b"z" * 9000),
)


def _judge(collector: ReferenceSubscriber) -> Judge:
    """By the contract's files, and by what the collector takes: they must say the same."""
    judge = Judge()
    for topic, body, _ in list(collector.log):
        judge.take(topic, body)
        name = "/".join(topic.split("/")[5:])
        if body and name in ("status", "meta", "window", "last", "event", "health", "rsp/resend"):
            try:
                parse_message(topic, body)
            except Refused as reason:
                judge.violations.append(f"{topic}: the collector refuses it: {reason}")
    return judge


def test_an_agent_says_nothing_outside_the_contract(broker: Mosquitto, tmp_path: Path) -> None:
    """Windows with and without result, late ones, gaps, events, health, every command well and badly put, discovery,
    a will: all fields are in the schemas, all payloads within 4 KB."""
    with ReferenceSubscriber(broker.port) as collector:
        handlers = {name: lambda _: {"sensing": "off"} for name in ("pause", "resume")}
        handlers["model-install"] = lambda body: {"accepted": body["bundle"]}
        wanted = settings(broker.port, home_assistant=True)
        publisher = Publisher(wanted, MADE_BY, pace=FAST, handlers=handlers, state_dir=tmp_path).__enter__()
        _busy_run(broker, collector, publisher)
        publisher.__exit__(RuntimeError, RuntimeError("the agent fails, its will speaks"), None)
        wait_until(lambda: any(s["state"] == "lost" for s in collector.payloads("status")), 20, "the will")
        judge = _judge(collector)
    assert judge.verdict() == []
    assert judge.seen.keys() >= {"window", "last", "status", "meta", "event", "health", "ack", "homeassistant"}
    assert judge.seen.keys() >= {"rsp/ping", "rsp/resend", "rsp/pause", "rsp/resume", "rsp/model-install"}


def _busy_run(broker: Mosquitto, collector: ReferenceSubscriber, publisher: Publisher) -> None:
    """Have it say all that it can say."""
    publisher.state("ready")
    for number in range(20):
        publisher(summary(number, suppressed="k_min" if number % 4 == 0 else None))
    publisher.event("camera", "camera.black", "x" * 500)
    publisher.health(fps=1.0, stages={"detect": {"p50": 1.0, "p95": 2.0}}, temperature_c=50.0, rss_mb=90.0)
    wait_until(lambda: collector.payloads("health") and collector.payloads("event"), 20)
    broker.restart()
    publisher.state("degraded", "y" * 500)
    wait_until(lambda: publisher.wait_connected(0.1), 20)
    for number, (name, body) in enumerate(COMMANDS):
        collector.publish(f"fer/v1/test/room/fer/cmd/{name}", body, CorrelationData=bytes([number]))
    wait_until(lambda: sum("/rsp/" in topic for topic, _, _ in collector.log) >= len(COMMANDS), 20, "all replies")
    # The judge looks at what the agent says: these commands were wrong on purpose.
    wait_until(lambda: len(collector.stream().windows) == 20, 20)
    collector.log[:] = [m for m in collector.log if "/cmd/" not in m[0]]


def test_simulated_rooms_keep_the_contract(broker: Mosquitto) -> None:
    """Rooms with much trouble: suppressed windows, gaps, late deliveries, and not one word outside the contract."""
    with ReferenceSubscriber(broker.port) as collector:
        mqtt = Mqtt(host="127.0.0.1", port=broker.port)
        with SimulatedRooms(mqtt, 25, window_s=60, speed=240, seconds=5, trouble=30, pace=FAST):
            wait_until(lambda: len(collector.windows()) > 250, 60)
            wait_until(lambda: any(w["replay"] for w in collector.windows()), 60)
            wait_until(lambda: any(e["kind"] == "gap" for e in collector.payloads("event")), 60)
        judge = _judge(collector)
    assert judge.verdict() == []
    windows = collector.payloads("window")
    assert {w["suppressed"] for w in windows} >= {None, "k_min"}
    assert {w["clock"]["source"] for w in windows} == {"simulated"}


def test_a_replay_of_a_video_keeps_the_contract(broker: Mosquitto, demo_clip: Path) -> None:
    """`fer-agent replay` of ten seconds: the whole agent, from frames to the broker."""
    if not (ROOT / "agent" / "models" / "released" / "card.json").is_file():
        pytest.skip("no model bundle in agent/models/released")
    command = [sys.executable, "-m", "agent", "replay", str(demo_clip), "--window", "3", "--json"]
    with ReferenceSubscriber(broker.port) as collector:
        done = subprocess.run(
            [*command, "--broker", f"127.0.0.1:{broker.port}"], cwd=ROOT, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        shown = [json.loads(line) for line in done.stdout.splitlines()]
        wait_until(lambda: len(collector.payloads("window")) >= len(shown), 20)
        judge = _judge(collector)
    assert judge.verdict() == []
    assert len(shown) >= 3
