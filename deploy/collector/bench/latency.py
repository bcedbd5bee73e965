"""How long a window takes from its end to the event that an open page gets."""

import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from deploy.collector.bench.ingest import running_collector
from deploy.collector.bench.lessons import free_port, running_broker
from deploy.collector.bench.report import at_most, machine, percentile

_TOKEN = "bench-token-0123456789"  # noqa: S105  of a server that lives for seconds, on loopback


def measure(db: str, seconds: float, rooms: int) -> None:
    """Publish one window a second and room; print how late the page hears of them."""
    machine()
    with tempfile.TemporaryDirectory() as folder, running_broker() as port:
        token = Path(folder) / "token"
        token.write_text(_TOKEN, encoding="utf-8")
        page = free_port()
        options = ("--listen", f"127.0.0.1:{page}", "--token-file", str(token))
        with running_collector(port, db, *options):
            time.sleep(1)
            command = [sys.executable, "-m", "deploy.collector.bench.sender"]
            sender = subprocess.Popen([*command, str(port), str(rooms), str(seconds), str(rooms)], stdout=-3)
            late, heard = _listen(page, seconds)
            sender.wait()
    click.echo(f"{rooms} rooms, a window a second each: the page heard {len(late):,} updates of {heard} rooms")
    click.echo(f"window end to page: p50 {percentile(late, 0.5):.2f} s, longest {max(late):.2f} s")
    at_most("window end to page, p95", 1000 * percentile(late, 0.95), 2000, "ms")


def _listen(port: int, seconds: float) -> tuple[list[float], int]:
    """Read server-sent events for a while; return (seconds from window end, one per update) and rooms heard."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/api/live", headers={"Authorization": f"Bearer {_TOKEN}"})
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        raise ConnectionError(f"page answered {answer.status}")
    late: list[float] = []
    seen: dict[str, int] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line = answer.readline()
        if not line.startswith(b"data: ["):
            continue
        now = time.time()
        for room in json.loads(line[6:]):
            window = room["window"]
            if window and seen.get(room["agent"]) != window["seq"]:
                seen[room["agent"]] = window["seq"]
                late.append(now - window["end_ms"] / 1000)
    connection.close()
    return late, len(seen)
