"""`python -m training.find_lr`."""

import re
from pathlib import Path

import pytest

from tests.training.commands import alone, run, small
from training import find_lr

pytestmark = pytest.mark.usefixtures("own_cache")


def test_it_draws_the_losses_of_rising_rates(tiny_dir: Path, tmp_path: Path) -> None:
    """A page with the plot, and the suggestion in one line."""
    arguments = ("--data", tiny_dir, "--out", tmp_path / "lr.html", "--steps", 6)
    code, out, errors = run(find_lr.main, small(tmp_path), *arguments)
    assert code == 0, errors
    assert re.search(r"lr.html: \d steps; suggested peak rate: ", out)
    assert re.search(r"small, rates from 1e-06 to 1: .*\d/6", errors)  # a bar, beside the answer and not in it
    assert alone((tmp_path / "lr.html").read_text())


@pytest.mark.parametrize("rates", [("--from", "nan"), ("--to", "nan"), ("--to", "inf")])
def test_a_rate_is_a_number(rates: tuple[str, str], tiny_dir: Path, tmp_path: Path) -> None:
    """A range without an end, or without a number, would suggest a rate of nan or inf."""
    code, out, _ = run(find_lr.main, small(tmp_path), "--data", tiny_dir, "--out", tmp_path / "lr.html", *rates)
    assert (code, out) == (2, "")


def test_a_student_has_its_teacher(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """With --teacher a config with teacher_share runs; one without it is told that it wants none."""
    arguments = ("--data", tiny_dir, "--out", tmp_path / "lr.html", "--steps", 3, "--teacher", keras_file)
    code, _, errors = run(find_lr.main, small(tmp_path, "teacher_share=0.5"), *arguments)
    assert code == 0, errors
    code, _, errors = run(find_lr.main, small(tmp_path), *arguments)
    assert (code, "teacher_share 0: expected no --teacher" in errors) == (66, True)


def test_it_suggests_a_third_of_the_rate_of_the_lowest_loss() -> None:
    """A loss that falls to its sixth step and explodes."""
    rates = tuple(10.0**i for i in range(-6, 2))
    found = find_lr.RangeTest(rates, (2.0, 1.9, 1.8, 1.5, 1.2, 0.1, 30.0, 90.0))
    assert found.suggestion() == pytest.approx(rates[5] / 3)


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    """No rate is better than a made-up one."""
    assert find_lr.RangeTest((0.1, 1.0), (2.0, 3.0)).suggestion() is None
