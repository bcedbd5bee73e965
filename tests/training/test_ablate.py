"""`python -m training.ablate`."""

import dataclasses
import re
from pathlib import Path

import pytest

from agent.errors import InputError, UsageError
from tests.training.commands import CONFIG, run, small
from training import ablate, checkpoint, config, data, loop, models, record

pytestmark = pytest.mark.usefixtures("own_cache")

SHORT = ("--epochs", 1, "--limit", 64)


def test_it_compares_each_change_with_the_config_as_it_is(tiny_dir: Path, tmp_path: Path) -> None:
    """Same seeds for all, the change by seed, and the cost."""
    code, out, errors = run(
        ablate.main, "cnn", "--vary", "balance=weights,sampler", "--data", tiny_dir, "--out", tmp_path,
        "--seed", 1, "--seed", 2, *SHORT,
    )  # fmt: skip
    assert code == 0, errors
    assert (tmp_path / "table.md").read_text() == out
    assert re.search(r"balance=weights-seed2: 100%.* 1/1 .*validation accuracy 0\.\d{4}", errors)
    assert [line.split(" | ")[0] for line in out.splitlines()[2:]] == [
        "| as configured", "| balance = weights", "| balance = sampler"
    ]  # fmt: skip
    assert re.search(r"\| balance = weights \| 0\.\d{4} \| \*\*[+-]\d+\.\d\*\* \([+-].*, [+-].*\) \|", out)


def test_what_was_trained_before_a_kill_is_not_trained_again(tiny_dir: Path, tmp_path: Path) -> None:
    """A second call reads the results of the first, minutes and all."""
    arguments = (
        "cnn",
        "--vary",
        "augment.flip=True",
        "--data",
        tiny_dir,
        "--out",
        tmp_path,
        "--seed",
        1,
        *SHORT,
    )
    _, first, _ = run(ablate.main, *arguments)
    weights = (tmp_path / "asconfigured-seed1" / "final.keras").stat().st_mtime_ns
    _, second, _ = run(ablate.main, *arguments)
    assert second == first
    assert (tmp_path / "asconfigured-seed1" / "final.keras").stat().st_mtime_ns == weights


def test_results_of_another_run_are_not_taken(tiny: data.Dataset, tmp_path: Path) -> None:
    """The same --out with other epochs, side, limit or config: the first field that differs."""
    record.of(CONFIG, tiny).write(tmp_path)
    (tmp_path / "result.json").write_text('{"accuracy": 0.5, "macro_f1": 0.5, "minutes": 1}')
    assert ablate.run(CONFIG, tiny, tmp_path) == ablate.Result(0.5, 0.5, 1)
    longer = config.Config("cnn", "cnn", (config.Phase(2, 48),), batch=16)
    with pytest.raises(InputError, match=r"expected config.phases \[{'epochs': 1, .* got \[{'epochs': 2"):
        ablate.run(longer, tiny, tmp_path)
    with pytest.raises(InputError, match=r"expected faces 96, .* got 64"):
        ablate.run(CONFIG, data.head(tiny, 64), tmp_path)


@pytest.mark.parametrize("stored", ["", "{", '{"other": 1}'])
def test_a_result_that_was_cut_short_is_measured_again(
    stored: str, tiny: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure empties a file that was just written; the run beside it is whole."""
    record.of(CONFIG, tiny).write(tmp_path)
    (tmp_path / "result.json").write_text(stored)
    monkeypatch.setattr(loop, "fit", lambda *_, **__: models.build(CONFIG, 48).save(tmp_path / "final.keras"))
    again = ablate.run(CONFIG, tiny, tmp_path)
    assert 0 <= again.accuracy <= 1
    assert ablate.run(CONFIG, tiny, tmp_path) == again


def test_two_do_not_train_in_one_folder(tiny: data.Dataset, tmp_path: Path) -> None:
    """They would take each other's checkpoints away."""
    with checkpoint.alone(tmp_path), pytest.raises(InputError, match="another run is at work in this folder"):
        ablate.run(CONFIG, tiny, tmp_path)


def test_a_seed_that_is_named_twice_counts_once(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run again is no second witness."""
    monkeypatch.setattr(ablate, "run", lambda *_: ablate.Result(0.5, 0.5, 1))
    seeds = ("--seed", 3, "--seed", 3)
    code, out, errors = run(ablate.main, "cnn", "--vary", "batch=8", "--data", tiny_dir, "--out", tmp_path, *seeds)
    assert (code, "mean of 1 seeds" in out, "(+0.0) |" in out) == (0, True, True), errors


def test_students_have_their_teacher(keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
    """--teacher teaches the variants that have a share of it, and is refused where none has."""
    arguments = ("--data", tiny_dir, "--out", tmp_path, "--seed", 1, "--teacher", keras_file)
    student = small(tmp_path, "teacher_share=0.5")
    code, out, errors = run(ablate.main, student, "--vary", "teacher_share=0.0", *arguments)
    assert code == 0, errors
    assert "| teacher_share = 0.0 |" in out
    code, _, errors = run(ablate.main, "cnn", "--vary", "balance=weights", *arguments)
    assert (code, "teacher_share 0: expected no --teacher" in errors) == (66, True)


def test_a_value_that_is_written_twice_is_one_variant() -> None:
    """1e-2 and 0.01 would be trained, and stand in the table, as two."""
    names = list(ablate.variants(config.load("cnn"), ["learning_rate=1e-2,0.01", "learning_rate=0.01,0.001"]))
    assert names == [ablate.BASE, "learning_rate = 1e-2"]


@pytest.mark.parametrize("present", [None, 6])
def test_a_number_that_may_be_none_can_be_varied(present: int | None) -> None:
    """With and without early stopping, and its patience."""
    configured = dataclasses.replace(config.load("cnn"), early_stop_epochs=present)
    found = ablate.variants(configured, ["early_stop_epochs=None,6,3"])
    assert {variant.early_stop_epochs for variant in found.values()} == {None, 6, 3}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("batch=0", "--vary batch=0: batch: expected a whole number from 1"),
        ("balanse=weights", "no such field; there are"),
        ("seed=3", "no such field; there are model, batch,"),
        ("balance=wieghts", "balance: expected one of 'none', 'weights', 'sampler', got 'wieghts'"),
        ("batch=many", "batch: expected a whole number from 1 to 65536, got 'many'"),
        ("balance", "expected FIELD=VALUE"),
        ("loss=soft", "nothing to compare"),
    ],
)
def test_a_change_that_cannot_be_is_one_line(change: str, says: str) -> None:
    """It names what there is."""
    with pytest.raises(UsageError, match=re.escape(says)):
        ablate.variants(config.load("cnn"), [change])
