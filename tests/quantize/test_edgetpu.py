"""The Edge TPU's command: nothing is called compiled without its compiler, and what that made gets into a bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agent.device.edgetpu import delegation
from agent.errors import ModelError
from agent.trust.signed_bundle import SIGNATURE
from agent.vision import runtime
from agent.vision.model_card import SUMS, Bundle
from quantize import edgetpu, graph, lite, pack, source
from quantize.convert import Converted


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


def as_compiled(model: bytes) -> bytes:
    """Return what the vendor's compiler makes of a network that it takes whole: one operator of its own between the
    same ends."""

    def change(parsed: object, schema: object) -> bool:
        first = parsed.subgraphs[0]
        op = first.operators[0]
        op.inputs, op.outputs, op.builtinOptions = first.inputs, first.outputs, None
        op.builtinOptionsType, op.opcodeIndex = schema.BuiltinOptions.NONE, 0
        code = parsed.operatorCodes[0]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = edgetpu.OPERATOR
        first.operators = [op]
        return True

    return graph.rewritten(model, change)


@pytest.fixture
def bundle(converted: Converted, tmp_path: Path) -> Path:
    """The CNN's bundle, and a signature of it beside a file of somebody's."""
    pack.write(tmp_path / "bundle", converted.card, converted.model, converted.golden)
    (tmp_path / "bundle" / SIGNATURE).write_text("of the old list")
    (tmp_path / "bundle" / "NOTES").write_text("of somebody")
    return tmp_path / "bundle"


def test_a_file_compiled_elsewhere_goes_into_the_bundle(bundle: Path, converted: Converted, tmp_path: Path) -> None:
    """--add lists it in SHA256SUMS and leaves the signature out, of which it tells. A second one replaces the first."""
    (tmp_path / "made.tflite").write_bytes(as_compiled(converted.model))
    for _ in range(2):
        done = CliRunner().invoke(edgetpu.main, ["check", str(bundle), "--add", str(tmp_path / "made.tflite")])
        assert done.exit_code == 0, done.output
        assert "has to be signed again" in done.stderr
        assert Bundle.load(bundle).edgetpu == as_compiled(converted.model)
    assert "model_edgetpu.tflite" in (bundle / SUMS).read_text()
    assert not (bundle / SIGNATURE).exists()
    assert (bundle / "NOTES").read_text() == "of somebody"


def test_one_that_was_dropped_in_is_refused_until_it_is_added(bundle: Path, converted: Converted) -> None:
    """It was ignored in silence; now the message is the command that adds it."""
    (bundle / "model_edgetpu.tflite").write_bytes(as_compiled(converted.model))
    with pytest.raises(ModelError, match=r"model_edgetpu.tflite: not in SHA256SUMS.* add it with `([^`]*)`") as caught:
        Bundle.load(bundle)
    command = str(caught.value).split("`")[1].split()
    done = CliRunner().invoke(edgetpu.main, command[command.index("check") :])
    assert done.exit_code == 0, done.output
    assert Bundle.load(bundle).edgetpu == as_compiled(converted.model)


def test_compile_puts_it_into_the_bundle(
    bundle: Path, converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named as the place to write to, the bundle has the compiler's file afterwards."""
    (tmp_path / "given").write_bytes(as_compiled(converted.model))
    compiler(tmp_path, f'cp "{tmp_path}/given" "$3/model_edgetpu.tflite"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    done = CliRunner().invoke(edgetpu.main, ["check", str(bundle), "--compile", str(bundle)])
    assert done.exit_code == 0, done.output
    assert Bundle.load(bundle).edgetpu == as_compiled(converted.model)


def test_what_the_compiler_did_not_make_of_it_is_not_added(
    bundle: Path, converted: Converted, resnet_file: Path, tmp_path: Path
) -> None:
    """The plain network, another network's compiled one, or bytes: one line, and the bundle is as it was."""
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    faces = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 1), dtype=np.uint8)
    other = lite.to_integer(source.load(resnet_file, 32), faces)
    for content, says in (
        (converted.model, "expected what edgetpu_compiler made"),
        (as_compiled(other), "expected the input of the bundle's network"),
        (b"bytes", "not a TFLite model"),
    ):
        (tmp_path / "made.tflite").write_bytes(content)
        done = CliRunner().invoke(edgetpu.main, ["check", str(bundle), "--add", str(tmp_path / "made.tflite")])
        assert done.exit_code == 78
        assert says in done.stderr
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_place_that_makes_no_sense_is_refused(bundle: Path, tmp_path: Path) -> None:
    """A file inside the bundle that nobody would list, another folder, or nothing to add to."""
    model = bundle / "model.tflite"
    for arguments, says in (
        ([bundle, "--compile", bundle / "model_edgetpu.tflite"], f"--compile {bundle} puts it in"),
        ([bundle, "--compile", tmp_path], "expected a file to write, or the bundle MODEL itself"),
        ([model, "--add", model], "expected a bundle as MODEL"),
    ):
        done = CliRunner().invoke(edgetpu.main, ["check", *map(str, arguments)])
        assert (done.exit_code, says in done.stderr) == (2, True), done.output


def test_a_device_that_stays_idle_for_want_of_a_file_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An Edge TPU is there, the bundle has nothing for it: the log says so, once; without a device it says nothing."""
    for kind, lines in (("usb", 1), (None, 0)):
        caplog.clear()
        got = delegation(runtime.choose(), b"plain", None, wanted=True, found=kind)
        assert (got.model, got.delegates) == (b"plain", [])
        assert len([r for r in caplog.records if "has no model_edgetpu.tflite" in r.getMessage()]) == lines


def test_an_operator_that_the_check_does_not_know_is_the_compilers_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Static, the check cannot pass it and does not condemn it; the compiler's word decides."""
    path = tmp_path / "model.tflite"
    path.write_bytes(with_transpose_conv())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    alone = CliRunner().invoke(edgetpu.main, ["check", str(path)])
    assert alone.exit_code == 1
    assert "TRANSPOSE_CONV: not among the operators that this check knows" in alone.stdout
    assert "pre-flight undecided" in alone.stdout
    compiler(tmp_path, 'cp "$4" "$3/model_edgetpu.tflite"')
    assert CliRunner().invoke(edgetpu.main, ["check", str(path)]).exit_code == 0


def with_transpose_conv() -> bytes:
    """Return an integer network with an operator of another family than ours."""
    keras = source.tensorflow_keras()
    face = keras.Input((8, 8, 1))
    up = keras.layers.Conv2DTranspose(2, 3, strides=2, padding="same")(face)
    network = keras.Model(face, keras.layers.Flatten()(keras.layers.MaxPooling2D(8)(up)), name="up")
    faces = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    return lite.to_integer(network, faces)
