"""A Coral Edge TPU, if it is there and works: tried in a child process first, because its library may hang or abort.

Law: whatever the library does, the agent runs on, on the CPU, and says so in `backend`.
"""

import importlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent.vision.runtime import Runtime

log = logging.getLogger(__name__)

LIBRARY: Final = "libedgetpu.so.1"
USB_IDS: Final = (("1a6e", "089a"), ("18d1", "9302"))
"""(vendor, product): before and after the accelerator's firmware is loaded."""
_WHY: Final = 80
"""Characters of a reason that go into `backend`."""
_TIMEOUT_S: Final = 30.0
"""Loading the firmware over USB takes about 3 s."""
_CHILD: Final = "agent.device.edgetpu"


@dataclass(frozen=True)
class Delegation:
    """What the classifier's interpreter gets."""

    backend: str
    """Name for every window: "litert+edgetpu", "litert", or "litert (edgetpu: <why not>)"."""
    model: bytes
    """The compiled network on the TPU, the plain one on the CPU."""
    delegates: list[Any] = field(default_factory=list)


def present(sys_folder: Path = Path("/sys"), dev: Path = Path("/dev")) -> str | None:
    """Return what kind of Edge TPU this machine has ("usb" or "pcie"), or None."""
    if any(dev.glob("apex_*")):
        return "pcie"
    for device in sys_folder.glob("bus/usb/devices/*"):
        if (_text(device / "idVendor"), _text(device / "idProduct")) in USB_IDS:
            return "usb"
    return None


def delegation(
    runtime: Runtime,
    model: bytes,
    compiled: bytes | None,
    *,
    wanted: bool,
    library: str = LIBRARY,
    timeout_s: float = _TIMEOUT_S,
    found: str | None = None,
) -> Delegation:
    """Return what to run: the TPU if it is wanted, there, compiled for, and survives a trial; else the CPU.

    found : what `present` returned; None asks it
    """
    on_cpu = Delegation(runtime.name, model)
    if not wanted or (kind := found or present()) is None:
        return on_cpu
    if compiled is None:
        log.warning("event=edgetpu.unused device=%s reason='the model bundle has no model_edgetpu.tflite'", kind)
        return on_cpu
    why = trial(runtime.name, compiled, library, timeout_s)
    if why is None:
        try:
            delegate = runtime.module.load_delegate(library)
            return Delegation(f"{runtime.name}+edgetpu", compiled, [delegate])
        except (OSError, ValueError, RuntimeError) as error:
            why = str(error) or type(error).__name__
    return fallback(runtime.name, model, why)


def fallback(runtime: str, model: bytes, why: str) -> Delegation:
    """Return what runs on the CPU instead; log why, and name it in `backend` on one line that a payload holds."""
    log.error("event=edgetpu.fallback reason=%r", why)
    return Delegation(f"{runtime} (edgetpu: {' '.join(why.split())[:_WHY]})", model)


def trial(runtime: str, compiled: bytes, library: str = LIBRARY, timeout_s: float = _TIMEOUT_S) -> str | None:
    """Load `library` and run `compiled` once in a child process; return why it must not be used, or None."""
    command = [sys.executable, "-m", _CHILD, runtime, library]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(compiled)
        given.seek(0)
        child = subprocess.Popen(
            command, stdin=given, stdout=said, stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ}
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # The whole group: a driver may have started processes of its own.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return f"no answer within {timeout_s:g} s"
        said.seek(0)
        answer = said.read(300).decode("utf-8", "replace").strip()
    if code < 0:
        return f"its library died of {signal.Signals(-code).name}"
    return None if code == 0 and answer.endswith("works") else (answer.splitlines() or [f"trial ended with {code}"])[-1]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _child(runtime_name: str, library: str) -> int:
    """Load the delegate, run the model on stdin once, say "works": the trial's own side."""
    from agent.vision import runtime as runtimes

    module = next(module for name, module in runtimes.MODULES if name == runtime_name)
    runtime = Runtime(runtime_name, importlib.import_module(module))
    try:
        delegate = runtime.module.load_delegate(library)
        interpreter = runtime.interpreter(sys.stdin.buffer.read(), 1, delegates=[delegate])
        interpreter.invoke()
    except (OSError, ValueError, RuntimeError) as error:
        os.write(1, f"{type(error).__name__}: {str(error).strip() or 'no reason given'}".encode())
        return 1
    os.write(1, b"works")
    return 0


if __name__ == "__main__":
    # _exit: a broken library's clean-up at exit must not turn a good answer into a bad one.
    os._exit(_child(sys.argv[1], sys.argv[2]))
