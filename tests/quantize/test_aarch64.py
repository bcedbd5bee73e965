"""The wheels of a Raspberry Pi under emulation: equal bits, what counts as different, and what is only projected."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.vision.model_card import Bundle, find
from quantize import aarch64, boards, emulated
from quantize.elsewhere import Job, Places

CACHE = emulated.home()
"""Taken before the tests get a cache of their own: nobody downloads 150 MB for a test."""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The released model."""
    return Bundle.load(find("released"))


@pytest.fixture
def python() -> str:
    """An emulated Raspberry Pi 4's Python with LiteRT."""
    if not (shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")):
        pytest.skip("qemu-aarch64 is not installed (qemu-user)")
    path = CACHE / "cortex-a72" / "python-litert"
    if not path.is_file():
        pytest.skip("no emulated Python here; python -m quantize.aarch64 makes it")
    return str(path)


def row(kernels: str, apart: int, bundle: Bundle) -> aarch64.Row:
    """Return the row of two faces, one of whose integers is `apart` from x86's."""
    x86 = np.arange(16, dtype=np.float64).reshape(2, 8)
    arm = x86.copy()
    arm[1, 0] += apart * bundle.card.output.scale
    return aarch64.compare("litert 0", kernels, "cortex-a72", x86, arm, bundle)


def test_reference_kernels_give_the_golden_integers(python: str, bundle: Bundle) -> None:
    """On emulated aarch64 LiteRT's reference kernels are bit-equal with what the bundle holds from x86."""
    job = Job("litert-reference", str(bundle.path / "model.tflite"))
    got = Places({"litert-reference": python}, {}).outputs(job, bundle.golden.faces[:2])
    output = bundle.card.output
    assert np.array_equal(np.rint(got / output.scale) + output.zero_point, bundle.golden.reference[:2])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_command_finds_both_processors_equal(python: str) -> None:
    """The whole command: no failure, LiteRT on both processors, and the agent's own check accepts the bundle."""
    done = CliRunner().invoke(aarch64.main, ["--cache", str(CACHE), "--faces", "2", "--json"])
    result = json.loads(done.stdout)
    assert (done.exit_code, result["failures"]) == (0, [])
    assert {r["processor"] for r in result["rows"]} == set(emulated.PROCESSORS)
    assert set(result["agent"].values()) == {"accepted"}


def test_a_difference_is_counted_in_faces_and_steps(bundle: Bundle) -> None:
    """One integer of one face three steps off: one face of two is equal, and both keep their top class."""
    found = row("default", 3, bundle)
    assert (found.faces, found.equal, found.worst_steps, found.same_top) == (2, 1, 3, 2)
    assert 0 < found.worst_probability < 0.1


@pytest.mark.parametrize(("kernels", "fails"), [("reference", 1), ("default", 0)])
def test_one_step_is_too_much_for_reference_kernels_only(kernels: str, fails: int, bundle: Bundle) -> None:
    """Reference kernels must be bit-equal; default ones may differ by what the bundle's card allows."""
    assert len(list(aarch64.failures([row(kernels, 1, bundle)], {}, bundle))) == fails


def test_a_bundle_that_the_agent_refuses_there_is_a_failure(bundle: Bundle) -> None:
    """The agent's own words stand in the failure."""
    assert list(aarch64.failures([], {"cortex-a72 litert": "no"}, bundle)) == ["the agent on cortex-a72 litert: no"]


def test_without_the_emulator_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No qemu-aarch64 on PATH: exit 78, the package's name, and nothing is downloaded."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(aarch64.main, ["--cache", str(tmp_path / "cache")])
    assert done.exit_code == 78
    assert done.stderr.splitlines()[-1].endswith("apt-get install qemu-user")
    assert not list(tmp_path.iterdir())


def test_the_projection_is_arithmetic(bundle: Bundle) -> None:
    """A Raspberry Pi 5's limit is MACs over 4 cores x 2.4 GHz x 32, and no projection is below its limit."""
    four, five = boards.project(bundle.card.macs)
    assert five.limit_ms == pytest.approx(1000 * bundle.card.macs / (4 * 2.4e9 * 32))
    assert all(one.projected_ms > one.limit_ms for one in (four, five))


def test_the_text_calls_the_projection_one(bundle: Bundle) -> None:
    """Nobody can take a projected time for a measured one."""
    result = aarch64.Result("m", (), {}, boards.project(bundle.card.macs), (), ())
    assert "PROJECTION, not measured" in aarch64.as_text(result)
