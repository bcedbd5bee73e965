"""The benchmark's verdict: a bar that nobody measured is not met, and ratios are to one thread and one face."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from quantize import bench, pack
from quantize.convert import Converted


def row(engine: str, kind: str, threads: int, batch: int, ms: float) -> bench.Row:
    return bench.Row(engine, "1", kind, threads, batch, ms, None, 1.0)


def result(*rows: bench.Row, bars: dict[str, float] | None = None) -> bench.Result:
    return bench.Result("m", 10**6, bench.related(rows), {"litert": 1e9}, 1.0, bars or {}, ())


def test_ratios_and_limit_are_of_one_thread_and_batch_1_whatever_comes_first() -> None:
    """Two threads timed before one: 8 ms are the unit, not the 4 ms of the first row."""
    found = result(row("litert", "int8", 2, 1, 4), row("litert", "int8", 1, 4, 5), row("litert", "int8", 1, 1, 8))
    assert [r.ratio for r in found.rows] == [0.5, 0.625, 1.0]
    assert "LiteRT int8 takes 8.0 times that" in bench.as_text(found)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [(None, 0, []), (1, None, ["got none: not measured"]), (0, 1.2, ["at most 1.00, got 1.20"])],
    ids=["all met", "one not measured", "one missed"],
)
def test_bars(name: int | None, value: float | None, says: list[str]) -> None:
    """Only bars that were measured and met give no line; every other one is named."""
    bars: dict[str, float | None] = dict.fromkeys(bench.BARS, 0.4)
    if name is not None:
        bars[list(bars)[name]] = value
    lines = list(bench.failures(result(bars={k: v for k, v in bars.items() if v is not None})))
    assert len(lines) == len(says)
    assert all(part in line and list(bars)[name or 0] in line for line, part in zip(lines, says, strict=True))


def test_check_fails_where_no_bar_was_measured(converted: Converted, tmp_path: Path) -> None:
    """With two threads only: exit code 1, every bar named on stderr, no ratio made up."""
    pack.write(tmp_path / "bundle", converted.card, converted.model, converted.golden)
    pack.write_file(tmp_path / "float.tflite", converted.float_model)
    plan = ["--threads", "2", "--batches", "1", "--seconds", "0.01", "--rounds", "1", "--check", "--json"]
    done = CliRunner().invoke(bench.main, [str(tmp_path / "bundle"), str(tmp_path / "float.tflite"), *plan])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["bars"]) == (1, {})
    assert {r["ratio"] for r in found["rows"]} == {None}
    assert all(f"bar {name}: expected" in done.stderr for name in bench.BARS)
