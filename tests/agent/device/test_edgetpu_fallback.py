"""The Edge TPU's fallback, with libraries compiled here that fail, hang, abort and crash."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from agent.delivery.wire import ModelRef
from agent.device.edgetpu import delegation, present, trial
from agent.vision.runtime import Runtime, choose

BODIES = {
    "fails": 'if (report) report("no device"); return 0;',
    "talks": 'if (report) report("%s"); return 0;' % ("no device. " * 30),
    "hangs": "for (;;) sleep(1);",
    "aborts": "abort();",
    "crashes": "*(volatile int *)0 = 1; return 0;",
    "exits": "_exit(0);",
}
SOURCE = """
#include <stdlib.h>
#include <unistd.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t n, void (*report)(const char *)) { %s }
void tflite_plugin_destroy_delegate(void *delegate) {}
"""


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A shared library for each way to misbehave."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc makes the fake libraries; run: apt install gcc")
    folder = tmp_path_factory.mktemp("edgetpu")
    made = {}
    for name, body in BODIES.items():
        (folder / f"{name}.c").write_text(SOURCE % body)
        made[name] = str(folder / f"lib{name}.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", made[name], folder / f"{name}.c"], check=True)
    (folder / "libgarbage.so").write_bytes(b"not a library")
    return {**made, "garbage": str(folder / "libgarbage.so"), "missing": str(folder / "libnone.so")}


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    return choose()


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("missing", "OSError"),
        ("garbage", "OSError"),
        ("fails", "no device"),
        ("aborts", "died of SIGABRT"),
        ("crashes", "died of SIGSEGV"),
        ("exits", "trial ended with 0"),
    ],
)
def test_a_bad_library_means_the_cpu(libraries: dict[str, str], runtime: Runtime, library: str, reason: str) -> None:
    """Whatever the library does, the agent keeps the plain model on the CPU, and `backend` says why."""
    got = delegation(runtime, b"plain", b"compiled", wanted=True, library=libraries[library], found="usb")
    assert (got.model, got.delegates) == (b"plain", [])
    assert got.backend.startswith(f"{runtime.name} (edgetpu: ")
    assert reason in got.backend


def test_a_long_reason_fits_a_window(libraries: dict[str, str], runtime: Runtime) -> None:
    """However much the library says, the name of the backend is one line that the contract has room for."""
    got = delegation(runtime, b"plain", b"compiled", wanted=True, library=libraries["talks"], found="usb")
    ModelRef(id="x", sha256="y", backend=got.backend)
    assert "no device" in got.backend
    assert "\n" not in got.backend


def test_a_library_that_hangs_is_killed(libraries: dict[str, str], runtime: Runtime) -> None:
    """A library that never returns is killed after the time-out, child included."""
    began = time.monotonic()
    assert trial(runtime.name, b"compiled", libraries["hangs"], timeout_s=5) == "no answer within 5 s"
    assert time.monotonic() - began < 15


def test_nothing_is_tried_without_reason(runtime: Runtime) -> None:
    """Without a device, without a compiled model, or switched off, the CPU is used, and `backend` says no more."""
    for compiled, wanted, found in ((b"c", False, "usb"), (None, True, "usb"), (b"c", True, None)):
        got = delegation(runtime, b"plain", compiled, wanted=wanted, library="/none", found=found)
        assert (got.backend, got.model) == (runtime.name, b"plain")


def test_devices_are_found_by_their_ids(tmp_path: Path) -> None:
    """A USB accelerator is found before and after its firmware is loaded, a PCIe one by its device file."""
    assert present(tmp_path, tmp_path) is None
    device = tmp_path / "bus/usb/devices/1-1"
    device.mkdir(parents=True)
    for vendor, product, kind in (("1a6e", "089a", "usb"), ("18d1", "9302", "usb"), ("18d1", "0001", None)):
        (device / "idVendor").write_text(vendor + "\n")
        (device / "idProduct").write_text(product + "\n")
        assert present(tmp_path, tmp_path) == kind
    (tmp_path / "apex_0").touch()
    assert present(tmp_path, tmp_path) == "pcie"
