"""A broker or a network that says no, and messages that nobody should send (faults 7, 8, 11, 12, 13, 17)."""

import json
import logging
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.delivery import payload
from agent.delivery.publish import Publisher
from agent.device.check_broker import broker as check
from agent.device.checks import run as run_checks
from agent.errors import ConfigError
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, speaker, summary, wait_until
from tests.reference_subscriber import ReferenceSubscriber

ROOT = "fer/v1/test/room/fer"


def _texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_wrong_password_is_one_error_a_try(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 7. One error a back-off that names the user and not the password; the spool goes on filling."""
    passwords = tmp_path / "passwd"
    with Mosquitto(tmp_path / "broker") as broker:
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "fer", "right-secret"], check=True)
        broker.configure(f"password_file {passwords}", anonymous=False)
        broker.restart()
        monkeypatch.setenv("FER_MQTT_PASSWORD", "wrong-secret")
        wanted = settings(broker.port, username="fer")
        with Publisher(wanted, MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
            for number in range(10):
                publisher(summary(number))
                time.sleep(0.1)
            publisher.check()
            assert publisher._spool.depth()[0] == 10
        refused = [t for t in _texts(caplog) if "event=mqtt.refused" in t]
        retries = [t for t in _texts(caplog) if "event=mqtt.down" in t]
        assert refused
        assert len(refused) <= len(retries)
        assert "Not authorized" in refused[0]
        assert "'fer'" in refused[0]
        assert "wrong-secret" not in caplog.text
        monkeypatch.setenv("FER_MQTT_PASSWORD", "right-secret")
        with Publisher(wanted, MADE_BY, pace=FAST, state_dir=tmp_path) as publisher:
            assert publisher.wait_connected(10)


def _confine(broker: Mosquitto, folder: Path, *topics: str) -> Path:
    """Let everybody read all and write `topics` alone, from now on; return the ACL file."""
    acl = folder / "acl"
    acl.write_text("".join(["topic read #\n", *(f"topic write {topic}\n" for topic in topics)]))
    broker.configure(f"acl_file {acl}")
    broker.restart()
    return acl


def test_a_denied_publish_is_named_with_the_line_to_add(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 8. At once (5 s are promised): a log line with the ACL entry to add, degraded; once allowed, all comes."""
    acl = _confine(broker, tmp_path, f"{ROOT}/status", f"{ROOT}/meta", f"{ROOT}/ack")
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path / "s") as publisher,
    ):
        publisher.state("ready")
        publisher(summary(0))
        wait_until(lambda: any("event=mqtt.trouble" in t for t in _texts(caplog)), 60, "the refusal is told")
        (line,) = {t for t in _texts(caplog) if "event=mqtt.trouble" in t and "/window" in t}
        assert f'allow "topic write {ROOT}/#"' in line
        wait_until(lambda: collector.newest("status").get("state") == "degraded", 60)
        acl.write_text("topic readwrite #\n")
        broker.restart()
        publisher(summary(1))
        wait_until(lambda: len(collector.stream().windows) == 2, 20)
        wait_until(lambda: collector.newest("status").get("state") == "ready", 20)


def test_a_renamed_agent_is_not_degraded_by_what_it_left(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 8. The ACL confines it to its new topics: the old retained ones are named once and then forgotten."""
    with Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path / "s") as publisher:
        assert publisher.wait_connected(10)
        publisher.state("ready")
    _confine(broker, tmp_path, f"{ROOT}-2/#")
    renamed = settings(broker.port, "fer-2")
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(renamed, MADE_BY, pace=FAST, state_dir=tmp_path / "s") as publisher,
    ):
        publisher.state("ready")
        wait_until(lambda: any(f"not_cleared topic={ROOT}/status" in t for t in _texts(caplog)), 60)
        publisher(summary(0))
        wait_until(lambda: len(collector.stream("fer-2").windows) == 1, 60)
        assert not [t for t in _texts(caplog) if "event=mqtt.trouble" in t]
    assert ROOT + "/" not in (tmp_path / "s/retained.json").read_text()


def test_a_denied_announcement_is_named_with_its_own_line(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 8. The line to add is that of the topic which was refused, also where it is not below the agent's root."""
    _confine(broker, tmp_path, f"{ROOT}/#")
    with Publisher(settings(broker.port, home_assistant=True), MADE_BY, pace=FAST):
        wait_until(lambda: any("event=mqtt.trouble" in t for t in _texts(caplog)), 60, "the refusal is told")
    (line,) = {t for t in _texts(caplog) if "event=mqtt.trouble" in t}
    assert 'allow "topic write homeassistant/device/fer/config"' in line


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_two_agents_with_one_id(
    version: str, broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 11. Both name the conflict; the one that started later ends with exit code 78, the other one goes on. Over
    MQTT 3.1.1 each finds nothing of the other but its will."""
    where = settings(broker.port, version=version)
    with Publisher(where, MADE_BY, pace=FAST, state_dir=tmp_path / "a") as first:
        first.state("ready")
        assert first.wait_connected(10)
        time.sleep(0.05)
        with Publisher(where, MADE_BY, pace=FAST, state_dir=tmp_path / "b") as second:
            wait_until(lambda: second._failure is not None, 30, "the newer one gives way")
            with pytest.raises(ConfigError, match="two agents have the id 'fer'") as raised:
                second.check()
            assert raised.value.exit_code == 78
        with ReferenceSubscriber(broker.port) as collector:
            first(summary(0))
            wait_until(lambda: len(collector.stream().windows) == 1, 30)
            wait_until(
                lambda: sum("event=mqtt.duplicate_identity" in t for t in _texts(caplog)) >= 2, 30, "both say it"
            )
            first.check()


def test_what_an_earlier_run_left_is_no_second_agent(broker: Mosquitto, tmp_path: Path) -> None:
    """A killed agent's birth, or one that a killed broker had saved, comes back again and again: nobody gives way."""
    stale = payload.status(speaker(boot_id="gone"), "ready", None, session=1, epoch="e", newest_seq=0).encode()
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path) as publisher,
    ):
        for number in range(3):
            collector.publish(f"{ROOT}/status", stale, retain=True)
            publisher(summary(number))
            broker.restart()
            wait_until(lambda: publisher.wait_connected(0.1), 20)
        wait_until(lambda: len(collector.stream().windows) == 3, 20)
        publisher.check()


BAD = {
    "malformed": ("ping", b"{not json", "payload: Invalid JSON"),
    "binary": ("resend", bytes(range(256)), "payload: Invalid JSON"),
    "huge": ("ping", b"{" + b" " * 100_000 + b"}", "at most 4096 bytes, got 100002"),
    "deeply nested": ("ping", b"[" * 2000 + b"]" * 2000, "recursion limit"),
    "not an object": ("resend", b"[1, 2]", "payload: Input should be an object"),
    "a wrong type": ("resend", b'{"from": "x", "to": 2}', "from: Input should be a valid integer"),
    "an unknown key": ("ping", b'{"and": 1}', "and: Extra inputs"),
    "a range backwards": ("resend", b'{"from": 9, "to": 2}', "expected from <= to"),
    "a range without end": ("resend", b'{"from": 1, "to": 99999999999}', "at most 100000 windows"),
    "an unknown command": ("format-disk", b"{}", "unknown command, expected one of: ping, resend"),
    "a command that is not wired": ("model-install", b'{"bundle": "x"}', "unknown command, expected one of"),
    "an id with a slash": ("model/install", b"{}", ""),  # no command of ours: a deeper topic is not subscribed to
}
"""What is sent, and what the answer says."""


def test_bad_commands_get_an_error_and_the_network_thread_lives(broker: Mosquitto) -> None:
    """Fault 12. Every kind of nonsense is answered with one error, and the next ping with its answer."""
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST) as publisher,
    ):
        assert publisher.wait_connected(10)
        for number, (name, body, _) in enumerate(BAD.values()):
            collector.publish(f"{ROOT}/cmd/{name}", body, CorrelationData=b"bad%d" % number)
        collector.publish(f"{ROOT}/cmd/ping", b"", CorrelationData=b"good")
        wait_until(lambda: any(r["ok"] for r in collector.payloads("rsp/ping")), 20, "the ping is answered")
        replies = [json.loads(body) for topic, body, _ in collector.log if "/rsp/" in topic]
        errors = [reply["error"] for reply in replies if not reply["ok"]]
        for error, says in zip(errors, filter(None, (says for _, _, says in BAD.values())), strict=True):
            assert says in error
            assert len(error) <= 200
        publisher(summary(0))
        wait_until(lambda: len(collector.stream().windows) == 1, 60)


def test_random_bytes_on_every_topic_that_is_read(broker: Mosquitto) -> None:
    """Fault 12. 400 random messages on cmd, ack and status: a window still comes."""
    rng = random.Random(12)
    with (
        ReferenceSubscriber(broker.port, acks=False) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST) as publisher,
    ):
        assert publisher.wait_connected(10)
        for _ in range(400):
            name = rng.choice(["cmd/ping", "cmd/resend", "ack", "status", "cmd/pause"])
            collector._client.publish(f"{ROOT}/{name}", rng.randbytes(rng.randrange(200)), 1)
        publisher(summary(0))
        wait_until(lambda: any(b'"seq":1' in body for topic, body, _ in collector.log if topic.endswith("/window")), 20)
        publisher.check()


def test_retained_and_replayed_commands_are_not_done(broker: Mosquitto) -> None:
    """Fault 13. A command that waited in the broker does nothing; a repeated resume is done once, and answered."""
    done: list[str] = []
    handlers = {name: lambda _, name=name: done.append(name) or {"sensing": "off"} for name in ("pause", "resume")}
    with ReferenceSubscriber(broker.port) as collector:
        collector.publish(f"{ROOT}/cmd/pause", b"{}", retain=True)
        with Publisher(settings(broker.port), MADE_BY, pace=FAST, handlers=handlers) as publisher:
            assert publisher.wait_connected(10)
            collector.publish(f"{ROOT}/cmd/ping", b"", CorrelationData=b"1")
            wait_until(lambda: collector.payloads("rsp/ping"), 60)
            assert done == []
            for _ in range(3):
                collector.publish(f"{ROOT}/cmd/resume", b"{}", CorrelationData=b"2")
            wait_until(lambda: len(collector.payloads("rsp/resume")) == 3, 60)
            assert done == ["resume"]
            assert [reply["ok"] for reply in collector.payloads("rsp/resume")] == [True, False, False]


def test_a_pause_is_never_taken_for_a_repeat(broker: Mosquitto) -> None:
    """Fault 13. Correlation data that another command or pause had before do not keep sensing on."""
    done: list[str] = []
    handlers = {"pause": lambda _: done.append("pause") or {"sensing": "off"}}
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, handlers=handlers) as publisher,
    ):
        assert publisher.wait_connected(10)
        for name in ("ping", "pause", "pause"):
            collector.publish(f"{ROOT}/cmd/{name}", b"", CorrelationData=b"1")
        wait_until(lambda: len(collector.payloads("rsp/pause")) == 2, 60)
        assert done == ["pause", "pause"]


def test_an_expired_command_is_never_delivered(broker: Mosquitto, tmp_path: Path) -> None:
    """Fault 13. Sent while the agent was away, with an expiry of 1 s: when it is back, it hears of later ones only."""
    done: list[str] = []
    handlers = {"pause": lambda _: done.append("pause") or {"sensing": "off"}}
    agent = {"pace": FAST, "handlers": handlers, "state_dir": tmp_path}
    with ReferenceSubscriber(broker.port) as collector:
        with Publisher(settings(broker.port), MADE_BY, **agent) as publisher:
            assert publisher.wait_connected(10)
        collector.publish(f"{ROOT}/cmd/pause", b"{}", MessageExpiryInterval=1)
        time.sleep(2.5)
        with Publisher(settings(broker.port), MADE_BY, **agent) as publisher:
            assert publisher.wait_connected(10)
            collector.publish(f"{ROOT}/cmd/ping", b"")
            wait_until(lambda: collector.payloads("rsp/ping"), 60)
    assert done == []


@pytest.mark.parametrize("asked", ["fer/v1/test/room/other/status", f"{ROOT}/cmd/pause", "homeassistant/status"])
def test_a_reply_goes_where_replies_go(broker: Mosquitto, asked: str) -> None:
    """A response topic that would make the reply somebody else's status, or a command, is not used."""
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST) as publisher,
    ):
        assert publisher.wait_connected(10)
        collector.publish(f"{ROOT}/cmd/ping", b"", ResponseTopic=asked)
        wait_until(lambda: collector.payloads("rsp/ping"), 60)
        assert [topic for topic, body, _ in collector.log if b"fer.reply" in body] == [f"{ROOT}/rsp/ping"]


@contextmanager
def _ready(broker: Mosquitto, limit: str, state: Path) -> Iterator[tuple[ReferenceSubscriber, Publisher]]:
    """A collector and an agent that is ready, at a broker with `limit`, a line of its configuration."""
    broker.configure(limit)
    broker.restart()
    with (
        ReferenceSubscriber(broker.port) as collector,
        Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=state) as publisher,
    ):
        publisher.state("ready")
        yield collector, publisher


def test_a_broker_that_takes_only_small_packets(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 17. Its limit is named, no window is sent again and again, small messages go on, nothing reconnects."""
    with _ready(broker, "max_packet_size 700", tmp_path) as (collector, publisher):
        for number in range(5):
            publisher(summary(number))
        wait_until(lambda: any("700 bytes" in t for t in _texts(caplog)), 60, "the limit is named")
        wait_until(lambda: "700 bytes" in (collector.newest("status").get("reason") or ""), 60)
        assert sum("event=mqtt.up" in t for t in _texts(caplog)) <= 1
        assert sum("event=mqtt.too_large" in t for t in _texts(caplog)) <= 2, "said once, not for every window"
        assert publisher._spool.depth()[0] == 5, "they stay for a broker that takes them"
        broker.configure()
        broker.restart()
        wait_until(lambda: len(collector.stream().windows) == 5, 20)


def test_a_broker_that_refuses_in_words_of_its_own(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 17. mosquitto names no message_size_limit and answers what is over it with a PUBACK that paho takes for no
    MQTT: the agent tries once for each kind of message that is too large, then stays connected."""
    with _ready(broker, "message_size_limit 450", tmp_path) as (collector, publisher):
        for number in range(5):
            publisher(summary(number))
        wait_until(lambda: "takes packets of" in (collector.newest("status").get("reason") or ""), 20)
        wait_until(publisher._courier.connected.is_set, 60)
        ups = sum("event=mqtt.up" in t for t in _texts(caplog))
        time.sleep(3)
        assert sum("event=mqtt.up" in t for t in _texts(caplog)) == ups <= 4, "nothing reconnects"
        assert publisher._spool.depth()[0] == 5, "they stay for a broker that takes them"
        broker.configure()
        broker.restart()
        wait_until(lambda: len(collector.stream().windows) == 5, 20)


def test_a_broker_that_takes_few_at_a_time(broker: Mosquitto, tmp_path: Path) -> None:
    """The welcome's receive maximum binds paho, too: one packet more, and a strict broker ends each connection."""
    with _ready(broker, "max_inflight_messages 3", tmp_path) as (collector, publisher):
        assert publisher.wait_connected(10)
        link = publisher._courier._link
        assert link is not None
        assert link._client.max_inflight_messages == 3
        for number in range(20):
            publisher(summary(number))
        wait_until(lambda: len(collector.stream().windows) == 20, 20)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("retain_available false", "keeps no retained messages → set retain_available true on the broker"),
        ("max_qos 0", "takes QoS 0 alone → set max_qos 1 or more on the broker"),
    ],
)
def test_a_broker_that_lacks_something_is_named(
    line: str, says: str, broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the doctor before, and by the agent in its log."""
    broker.configure(line)
    broker.restart()
    (found,) = [f for f in run_checks({"mqtt": lambda: check(settings(broker.port))}) if f.verdict == "FAIL"]
    assert says in f"{found.found} → {found.mend}"
    with Publisher(settings(broker.port), MADE_BY, pace=FAST, state_dir=tmp_path):
        wait_until(lambda: any(f"; {says.partition('→ ')[2][:8]}" in t for t in _texts(caplog)), 60)


def test_a_reply_that_is_too_large_ends_no_connection(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 17. Correlation data as long as the broker's limit: that one reply is not sent, the next one is; nothing
    reconnects, no window is held back, nothing is degraded."""
    with _ready(broker, "max_packet_size 2000", tmp_path) as (collector, publisher):
        assert publisher.wait_connected(10)
        collector.publish(f"{ROOT}/cmd/ping", b"", CorrelationData=b"c" * 1900)
        publisher(summary(0))
        collector.publish(f"{ROOT}/cmd/ping", b"", CorrelationData=b"c" * 100)
        wait_until(lambda: collector.payloads("rsp/ping"), 60)
        publisher(summary(1))
        wait_until(lambda: len(collector.stream().windows) == 2, 60)
        time.sleep(1)
        assert sum("event=mqtt.up" in t for t in _texts(caplog)) == 1
        assert any("event=cmd.reply_too_large" in t for t in _texts(caplog))
        assert len(collector.payloads("rsp/ping")) == 1
        assert {s["state"] for s in collector.payloads("status")} <= {"init", "ready"}


def test_a_topic_id_cannot_leave_its_place() -> None:
    """An id with "/", "+" or "#" is refused at the start."""
    from agent.delivery.topics import Topics

    for bad in ("a/b", "+", "#", "", "A", "x" * 65, "a b", "ä"):
        with pytest.raises(ConfigError, match="expected 1-64 of a-z"):
            Topics("site", "room", bad)


def test_ids_that_make_a_payload_too_long_are_refused_at_the_start() -> None:
    """A payload over 4 KB is a refusal with exit 78 before anything runs."""
    from dataclasses import replace

    long = replace(MADE_BY, model_id="m" * 200, model_sha256="s" * 200, backend="b" * 200, labels=("l" * 200,) * 30)
    with pytest.raises(ConfigError, match="at most 4096 bytes"):
        Publisher(settings(1), long)


@pytest.fixture(autouse=True)
def _all_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    yield
    assert not [t for t in threading.enumerate() if t.name == "delivery"], "a delivery thread was left behind"
