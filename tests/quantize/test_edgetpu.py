"""The Edge TPU's rules, and that nothing is called compiled without its compiler."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from quantize import edgetpu, graph, lite, source
from quantize.convert import Converted


def with_op(layout: graph.Graph, name: str, /, **changes: object) -> graph.Graph:
    """Return `layout` with the first operator called `name` changed."""
    at = next(i for i, op in enumerate(layout.ops) if op.name == name)
    ops = list(layout.ops)
    ops[at] = dataclasses.replace(ops[at], **changes)
    return dataclasses.replace(layout, ops=tuple(ops))


@pytest.fixture(scope="module")
def layout(converted: Converted) -> graph.Graph:
    """The integer CNN."""
    return graph.read(converted.model, "cnn")


def test_our_integer_network_passes(layout: graph.Graph) -> None:
    """No rule is broken by what `convert` writes."""
    assert list(edgetpu.check(layout)) == []


def test_a_float_network_breaks_a_rule_in_every_layer(cnn_file: Path) -> None:
    """Each convolution of the float file is named with its type."""
    floats = graph.read(lite.to_float(source.load(cnn_file)), "float")
    found = [f.rule for f in edgetpu.check(floats) if "CONV_2D" in f.rule and "FLOAT32" in f.rule]
    assert len(found) >= 6


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("CONV_2D", {"version": 9}, "version 3 at most, got 9"),
        ("MAX_POOL_2D", {"activation": "RELU"}, "no fused activation"),
        ("CONV_2D", {"name": "CUMSUM"}, "not an operator"),
        ("ADD", {"custom": True}, "not an operator"),
    ],
)
def test_each_rule_is_found_when_broken(layout: graph.Graph, name: str, changes: dict[str, object], says: str) -> None:
    """Newer versions, fused pools, foreign and custom operators: one finding each."""
    found = list(edgetpu.check(with_op(layout, name, **changes)))
    assert len(found) == 1
    assert says in found[0].rule


def test_a_dense_layer_per_channel_is_refused(layout: graph.Graph) -> None:
    """The compiler wants one scale for a dense layer's weights."""
    broken = with_op(layout, "CONV_2D", name="FULLY_CONNECTED", version=1)
    assert ["per-tensor" in f.rule for f in edgetpu.check(broken)] == [True, False]


def test_an_open_dimension_and_a_batch_are_refused(layout: graph.Graph) -> None:
    """Everything has a fixed size, and the batch is 1."""
    face = dataclasses.replace(layout.inputs[0], shape=(4, 48, 48, 1), dynamic=True)
    broken = dataclasses.replace(layout, inputs=(face,), tensors=(face,))
    rules = " ".join(f.rule for f in edgetpu.check(broken))
    assert "expected batch 1" in rules
    assert "expected fixed dimensions" in rules


def test_a_network_larger_than_the_cache_is_called_so(layout: graph.Graph, converted: Converted) -> None:
    """The CNN's 1.5 MB fit; the same with eight times the bytes do not."""
    found = edgetpu.pre_flight(converted.model, "cnn")
    assert found.fits_cache
    assert found.parameter_bytes == layout.constant_bytes
    assert not edgetpu.fits(8 * found.parameter_bytes)


def test_the_command_never_says_compiled_without_the_compiler(
    converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing on PATH: pre-flight passed, static, exit code 0."""
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "model.tflite"
    path.write_bytes(converted.model)
    done = CliRunner().invoke(edgetpu.main, ["check", str(path)])
    assert done.exit_code == 0
    assert "pre-flight passed" in done.stdout
    assert "this check is static" in done.stdout
    assert "compiled" not in done.stdout
    asked = CliRunner().invoke(edgetpu.main, ["check", str(path), "--compile", str(tmp_path / "out.tflite")])
    assert asked.exit_code == 66
    assert not (tmp_path / "out.tflite").exists()


def test_the_compiler_on_path_is_called_and_its_file_taken(
    converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in program of that name gets -s, -o and the model, and what it writes is what is kept."""
    tool = tmp_path / "edgetpu_compiler"
    tool.write_text('#!/bin/sh\nprintf "made from $(wc -c < "$4")" > "$3/model_edgetpu.tflite"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    edgetpu.compile_into(converted.model, tmp_path / "out.tflite")
    assert (tmp_path / "out.tflite").read_text() == f"made from {len(converted.model)}"


def compiler(folder: Path, script: str) -> None:
    """Write a stand-in for the vendor's program, called as `edgetpu_compiler -s -o FOLDER MODEL`, to `folder`."""
    tool = folder / "edgetpu_compiler"
    tool.write_text(f"#!/bin/sh\necho 'Edge TPU Compiler version 16.0.384591198'\n{script}\n")
    tool.chmod(0o755)


def test_check_asks_the_compiler_on_path(converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --compile its answer is in the report, and no file is left behind; with it the file is there too."""
    compiler(tmp_path, 'cp "$4" "$3/model_edgetpu.tflite"; echo "Number of operations that will run on CPU: 0"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path, out = tmp_path / "model.tflite", tmp_path / "out.tflite"
    path.write_bytes(converted.model)
    done = CliRunner().invoke(edgetpu.main, ["check", str(path), "--json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["compiled"]) == (0, True)
    assert "version 16.0" in found["compiler"]
    assert "run on CPU: 0" in found["compiler"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["edgetpu_compiler", "model.tflite"]
    kept = CliRunner().invoke(edgetpu.main, ["check", str(path), "--compile", str(out)])
    assert kept.exit_code == 0
    assert "edgetpu_compiler compiled it: Edge TPU Compiler version 16.0" in kept.stdout
    assert out.read_bytes() == converted.model


def test_a_refusal_by_the_compiler_is_exit_code_1(
    converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that breaks no rule of ours is refused by the compiler: its last line is in the report and on stderr."""
    compiler(tmp_path, "echo 'Internal compiler error. Aborting!' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / "model.tflite"
    path.write_bytes(converted.model)
    done = CliRunner().invoke(edgetpu.main, ["check", str(path), "--json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["findings"], found["compiled"]) == (1, [], False)
    assert found["compiler"].endswith("Internal compiler error. Aborting!")
    assert "refused it" in done.stderr


def test_a_broken_rule_is_exit_code_1(cnn_file: Path, tmp_path: Path) -> None:
    """JSON on stdout, the verdict on stderr; a compiler would not be asked."""
    path = tmp_path / "float.tflite"
    path.write_bytes(lite.to_float(source.load(cnn_file)))
    done = CliRunner().invoke(edgetpu.main, ["check", str(path), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["findings"]
    assert "not asked" in json.loads(done.stdout)["compiler"]
    assert "breaks" in done.stderr
