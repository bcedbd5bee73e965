"""The broker for demo and replay: MQTT 5 on this machine alone, and never longer than who started it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("iotcore", reason="the extra `demo` is not installed")

from agent.config import Mqtt
from agent.delivery.embedded import EmbeddedBroker
from agent.delivery.publish import Publisher
from agent.delivery.subscribe import Subscriber
from tests.mqtt_world import FAST, MADE_BY, settings, summary, wait_until

ROOT = Path(__file__).resolve().parents[3]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_windows_go_through_it() -> None:
    """What a publisher sends, a subscriber gets."""
    with EmbeddedBroker() as broker:
        mqtt = Mqtt(host=broker.host, port=broker.port)
        with (
            Subscriber(mqtt, ["fer/v1/+/+/+/window"]) as subscriber,
            Publisher(settings(broker.port), MADE_BY, pace=FAST) as publisher,
        ):
            publisher(summary(1))
            message = subscriber.get(20)
        assert message is not None
        assert b'"seq":1' in message.payload


def test_it_listens_on_this_machine_alone() -> None:
    """Its port is open on 127.0.0.1 and nowhere else."""
    with EmbeddedBroker() as broker:
        hexed = f"{broker.port:04X}"
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert next(address for address in listening if address.endswith(f":{hexed}")).startswith("0100007F")
        assert not any(address == f"00000000:{hexed}" for address in listening)


def test_it_ends_with_the_block() -> None:
    """After the block there is neither process nor port."""
    with EmbeddedBroker() as broker:
        pid, port = broker.pid, broker.port
    assert not _alive(pid)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_it_ends_with_a_parent_that_is_killed() -> None:
    """SIGKILL of the parent: the child is gone a moment later."""
    code = (
        "import time; from agent.delivery.embedded import EmbeddedBroker\n"
        "with EmbeddedBroker() as broker:\n    print(broker.pid, flush=True)\n    time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert _alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not _alive(child), 60, "the child ends")


def test_ctrl_c_is_for_the_parent() -> None:
    """SIGINT to the group of the parent leaves the broker to it: goodbyes still go through."""
    with EmbeddedBroker() as broker:
        assert os.getpgid(broker.pid) != os.getpgid(0)
        time.sleep(0.1)
        assert _alive(broker.pid)
