"""Stands in for `fer-agent run` inside the real unit: its watchdog, clock, camera thread and runtime, and a fault.

The fault is the first word of /var/lib/fer-agent/fault: none, hang, camera (a driver that never returns), memory,
config (exit 78), slow-stop.
"""

import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from agent.config import Camera
from agent.device import clock, memory
from agent.device.notify import Beat, Notifier, Watchdog
from agent.trust.hardening import keep_memory_private
from agent.vision.camera import LiveCamera
from agent.vision.runtime import available

STATE = Path("/var/lib/fer-agent")


class Driver:
    """A camera that sends noise, and stops answering when the fault says so."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.rng = np.random.default_rng()

    def grab(self) -> bool:
        time.sleep(0.05)
        if self.fault == "camera":
            time.sleep(10_000)
        return True

    def retrieve(self) -> np.ndarray:
        return self.rng.integers(0, 255, (90, 160, 3), dtype=np.uint8)

    def close(self) -> None:
        pass


def main() -> None:
    keep_memory_private()
    fault = (STATE / "fault").read_text().strip()
    with (STATE / "starts").open("a") as starts:
        starts.write(fault + "\n")
    if fault == "config":
        sys.exit(78)
    notifier = Notifier()
    dog, beat = Watchdog(notifier), Beat()
    facts = {
        "synced": clock.kernel_synced(),
        "runtimes": [runtime.name for runtime in available()],
        "resized": cv2.resize(np.zeros((4, 4), np.uint8), (2, 2)).shape,
        "limit": memory.group_limit(),
        "watchdog": dog.interval_s,
        "password": (Path(__import__("os").environ["CREDENTIALS_DIRECTORY"]) / "mqtt-password").exists(),
        "etc": Path("/etc/fer-agent/mqtt-password").exists() and readable(Path("/etc/fer-agent/mqtt-password")),
    }
    (STATE / "facts").write_text(repr(facts))
    settings = Camera(open_timeout_s=1, read_timeout_s=1)
    with LiveCamera(lambda: Driver(fault), name="fake", fps=10, settings=settings, patient=True) as camera:
        signal.signal(signal.SIGTERM, lambda *_: camera.stop())
        dog.watch("loop", beat.at, 2)
        dog.watch("camera", camera.progressed_at, 2)
        notifier.ready()
        held = []
        for _ in camera:
            beat()
            dog.tick()
            if fault == "hang":
                time.sleep(10_000)
            if fault == "memory":
                held.append(bytearray(b"x" * 20_000_000))
        notifier.stopping()
    (STATE / "stopped").touch()


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except PermissionError:
        return False
    return True


if __name__ == "__main__":
    main()
