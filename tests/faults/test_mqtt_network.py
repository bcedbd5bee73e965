"""A network that swallows packets or flaps: the broker sits in a network namespace of its own (faults 4, 5, 6)."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.delivery.publish import Publisher
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, summary, wait_until
from tests.reference_subscriber import ReferenceSubscriber


def _run(*command: object) -> None:
    subprocess.run([str(c) for c in command], check=True, capture_output=True)


class Island(Mosquitto):
    """A broker in its own network namespace, with a link for the agent and another one for the collector."""

    def __init__(self, folder: Path) -> None:
        number = os.getpid() % 250
        self.space, self.link, self.other = f"fer-{os.getpid()}", f"fa{os.getpid()}", f"fc{os.getpid()}"
        self.host, self.calm_host = f"10.203.{number}.2", f"10.203.{number}.6"
        if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("nft") is None:
            pytest.skip("network namespaces need root, iproute2 and nftables")
        try:
            _run("ip", "netns", "add", self.space)
            for link, last in ((self.link, 1), (self.other, 5)):
                _run("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}b", "netns", self.space)
                _run("ip", "addr", "add", f"10.203.{number}.{last}/30", "dev", link)
                _run("ip", "link", "set", link, "up")
                self.inside("ip", "addr", "add", f"10.203.{number}.{last + 1}/30", "dev", f"{link}b")
                self.inside("ip", "link", "set", f"{link}b", "up")
            self.inside("ip", "link", "set", "lo", "up")
            self.inside("nft", "add", "table", "inet", "fer")
            for hook in ("input", "output"):
                chain = f"{{ type filter hook {hook} priority 0 ; }}"
                self.inside("nft", "add", "chain", "inet", "fer", hook, chain)
        except subprocess.CalledProcessError as error:
            self._remove()
            pytest.skip(f"network namespaces are not possible here: {error.stderr.decode().strip()}")
        super().__init__(folder)
        self.configure(listener=f"listener {self.port}")

    def inside(self, *command: object) -> None:
        """Run a command in the broker's namespace."""
        _run("ip", "netns", "exec", self.space, *command)

    def swallow(self) -> None:
        """Drop every packet between agent and broker, both ways, without a word."""
        self.inside("nft", "add", "rule", "inet", "fer", "input", "iifname", f"{self.link}b", "drop")
        self.inside("nft", "add", "rule", "inet", "fer", "output", "oifname", f"{self.link}b", "drop")

    def heal(self) -> None:
        """Let packets pass again."""
        self.inside("nft", "flush", "table", "inet", "fer")

    def start(self) -> None:
        command = ["ip", "netns", "exec", self.space, self.binary, "-c", str(self._config)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.await_port(self.host)

    def __exit__(self, *of: object) -> None:
        super().__exit__(*of)
        self._remove()

    def _remove(self) -> None:
        subprocess.run(["ip", "link", "del", self.link], capture_output=True)
        subprocess.run(["ip", "link", "del", self.other], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.space], capture_output=True)


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Island]:
    with Island(tmp_path / "broker") as made:
        yield made


def test_swallowed_packets_are_noticed(island: Island, tmp_path: Path) -> None:
    """Faults 4 and 5. Nothing comes back for ever: noticed within 2 x keepalive (5 s here), nothing is lost, nothing is
    counted twice."""
    wanted = settings(island.port, host=island.host, keepalive_s=5)
    with (
        ReferenceSubscriber(island.port, host=island.calm_host) as collector,
        Publisher(wanted, MADE_BY, pace=FAST, state_dir=tmp_path) as publisher,
    ):
        publisher(summary(0))
        wait_until(lambda: len(collector.stream().windows) == 1, 20)
        island.swallow()
        since = time.monotonic()
        for number in range(1, 10):
            publisher(summary(number))
        wait_until(lambda: not publisher.wait_connected(0), 30, "the silence is noticed")
        assert time.monotonic() - since < 2 * 5 + 6  # a busy machine needs a moment
        island.heal()
        wait_until(lambda: len(collector.stream().windows) == 10, 60)
        assert collector.conflicts == []
        assert collector.stream().gaps == {}


def _flap(island: Island, folder: Path, times: int, seconds: float) -> None:
    """Take the link down and up again and again while windows close."""
    wanted = settings(island.port, host=island.host, keepalive_s=5)
    with (
        ReferenceSubscriber(island.port, host=island.calm_host) as collector,
        Publisher(wanted, MADE_BY, pace=FAST, state_dir=folder) as publisher,
    ):
        publisher(summary(0))
        wait_until(lambda: len(collector.stream().windows) == 1, 20)
        before = (threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
        number = 1
        for _ in range(times):
            for state in ("down", "up"):
                _run("ip", "link", "set", island.link, state)
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    publisher(summary(number))
                    number += 1
                    time.sleep(0.1)
        wait_until(lambda: len(collector.stream().windows) == number, 90, "all windows")
        wait_until(lambda: publisher.wait_connected(0), 60)
        after = (threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
        assert after[0] <= before[0]
        assert after[1] <= before[1] + 1
        assert not any(s["state"] == "lost" for s in collector.payloads("status")), "the will spoke in a short flap"
        assert collector.stream().gaps == {}
        assert collector.conflicts == []


def test_a_link_that_flaps(island: Island, tmp_path: Path) -> None:
    """Fault 6, short. Down and up every second, three times: no `lost`, no growth in threads or descriptors, 0 lost."""
    _flap(island, tmp_path, times=3, seconds=1)


@pytest.mark.long
def test_a_link_that_flaps_20_times(island: Island, tmp_path: Path) -> None:
    """Fault 6. Down and up every 3 s, 20 times."""
    _flap(island, tmp_path, times=20, seconds=3)
