"""Payloads of made-up rooms that follow the contract, quick to make; and a broker to send them through."""

import json
import math
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.delivery.embedded import free_port
from agent.emotions import LABELS
from agent.errors import UnavailableError
from deploy.collector.bench.leashed import leash

_SHARES = (0.62, 0.14, 0.05, 0.07, 0.04, 0.02, 0.03, 0.03)


def topic_of(room: int, kind: str = "window") -> str:
    """Return the topic of made-up room number `room`."""
    return f"fer/v1/school-{room // 20}/room-{room % 20 + 1}/fer-{room}/{kind}"


def window_of(room: int, seq: int, end_ms: int, *, epoch: str = "1", length_ms: int = 60_000, **more: Any) -> bytes:
    """Return one plausible window payload; `more` overrides or adds keys, and None takes one away."""
    dice = random.Random(room * 1_000_003 + seq)  # noqa: S311
    _, site, name, agent = topic_of(room).split("/")[1:5]
    value = 55 + 15 * math.sin(seq / 12 + room) + dice.gauss(0, 3)
    seats = 18 + room % 9
    shares = [s * dice.uniform(0.7, 1.3) for s in _SHARES]
    body: dict[str, Any] = {
        "schema": "fer.window/1.0",
        "agent": agent,
        "site": site,
        "room": name,
        "epoch": epoch,
        "seq": seq,
        "boot_id": f"boot-{room}",
        "start_ms": end_ms - length_ms,
        "end_ms": end_ms,
        "mono_start_ns": seq * length_ms * 1_000_000,
        "clock": {"synced": True, "source": "simulated"},
        "seats": seats,
        "n_eff": float(seats - 1),
        "coverage": round(dice.uniform(0.7, 0.95), 3),
        "frames": 60,
        "partial": False,
        "suppressed": None,
        "model": {"id": "simulated", "sha256": "0" * 64, "backend": "none"},
        "calibration_id": None,
        "replay": False,
        "engagement": {
            "value": round(value),
            "ci95": [round(value - 6, 1), round(value + 6, 1)],
            "delta": None,
            "weights_id": "sharma2019-affine/1",
        },
        "valence": round(dice.uniform(-0.1, 0.3), 3),
        "arousal": round(dice.uniform(-0.1, 0.3), 3),
        "expressivity": round(100 * (1 - shares[0] / sum(shares)), 1),
        "shares": {label: round(s / sum(shares), 3) for label, s in zip(LABELS, shares, strict=True)},
        "dp": None,
    }
    body |= more
    return json.dumps(
        {k: v for k, v in body.items() if v is not None or k in ("suppressed", "calibration_id")}
    ).encode()


def suppressed_window(room: int, seq: int, end_ms: int, reason: str = "k_min", **more: Any) -> bytes:
    """Return a window without a result."""
    nothing = dict.fromkeys(("engagement", "valence", "arousal", "expressivity", "shares"))
    return window_of(room, seq, end_ms, suppressed=reason, seats=3, n_eff=2.0, **nothing, **more)


def find_mosquitto() -> str:
    """Return the program's path. Raises UnavailableError where there is none."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise UnavailableError("mosquitto: not found; apt-get install mosquitto")
    return program


@contextmanager
def running_broker(port: int | None = None, extra: str = "") -> Iterator[int]:
    """Run mosquitto on loopback; yield its port. Raises UnavailableError where there is none. It ends with the thread
    that started it, however that ends."""
    program, port = find_mosquitto(), port or free_port()
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "mosquitto.conf"
        limits = "max_queued_messages 200000\nmax_inflight_messages 0\nset_tcp_nodelay true\nlog_type error\n"
        conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n{limits}{extra}")
        # Ctrl-C is for what uses it; a broker that went away first would make that complain.
        process = subprocess.Popen([*leash(), program, "-c", str(conf)], stdout=-3, stderr=-3, start_new_session=True)
        try:
            _wait_for_port(port)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _wait_for_port(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise UnavailableError(f"broker: nothing listens on port {port} after 5 s")
