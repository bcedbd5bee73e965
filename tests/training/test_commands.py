"""The commands, on made-up faces: what they write, what they print, and how they refuse."""

import json
import re
import resource
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from agent.errors import InputError, ModelError, UsageError
from tests.training.conftest import ROOT, split, write_folders
from training import (
    ablate,
    checkpoint,
    config,
    data,
    distill,
    evaluate,
    explore,
    find_lr,
    fit,
    loop,
    metrics,
    models,
    predict,
    recipe,
    record,
    upright,
)

CONFIG = config.Config("cnn", "cnn", (config.Phase(1, 48),), batch=16)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded data sets go to a folder of the test run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained CNN."""
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("model") / "final.keras"
    models.build(CONFIG, 48).save(path)
    return path


def run(command: object, *arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(command, [str(a) for a in arguments])
    return done.exit_code, done.stdout, done.stderr


def small(folder: Path, more: str = "") -> Path:
    """Write a config file of a CNN for one epoch, and return its path."""
    path = folder / "small.py"
    path.write_text(
        "from training.config import Config, Phase\n"
        f"CONFIG = Config(name='small', model='cnn', phases=(Phase(1, 48),), batch=8, optimizer='adamw', {more})\n"
    )
    return path


def alone(html: str) -> bool:
    """Return whether a page fetches nothing: no script, style or picture from elsewhere."""
    return not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"'](?!data:)", html)


class TestExplore:
    """`python -m training.explore`."""

    def test_it_shows_the_data_in_one_page_that_fetches_nothing(self, tiny_dir: Path, tmp_path: Path) -> None:
        """Balance, agreement, disagreement, top vote, FER2013 against FERPlus, samples and augmentation."""
        code, out, _ = run(explore.main, "--data", tiny_dir, "--out", tmp_path / "r.html")
        assert (code, out.strip()) == (0, str(tmp_path / "r.html"))
        html = (tmp_path / "r.html").read_text()
        for part in ("Class balance", "Agreement", "Disagreement", "most votes", "FER2013 label", "Samples", "Augment"):
            assert part in html
        assert alone(html)

    def test_a_share_of_votes_stands_in_the_middle_of_its_bar(self, tiny: data.Dataset) -> None:
        """Eight of ten votes are a bar around 0.8, and all ten one around 1: no bar lies beyond."""
        bins = explore.agreement(tiny.train).data[0].xbins
        middles = np.arange(bins.start, bins.end - 1e-9, bins.size) + bins.size / 2
        assert middles == pytest.approx(np.arange(11) / 10)

    def test_a_report_to_pass_on_holds_no_face(self, tiny_dir: Path, tmp_path: Path) -> None:
        """With --no-faces there is no picture in it, and it says so."""
        run(explore.main, "--data", tiny_dir, "--out", tmp_path / "r.html", "--no-faces")
        html = (tmp_path / "r.html").read_text()
        assert "<img" not in html
        assert "It holds no face image." in html

    def test_a_report_with_faces_warns_at_its_top(self, tiny_dir: Path, tmp_path: Path) -> None:
        """Whoever opens it reads that it must not be published."""
        run(explore.main, "--data", tiny_dir, "--out", tmp_path / "r.html", "--samples", 1)
        html = (tmp_path / "r.html").read_text()
        assert html.index("do not publish or commit it") < html.index("<img")

    def test_the_folder_layout_says_what_it_cannot_compare(self, tiny: data.Dataset, tmp_path: Path) -> None:
        """It has no FER2013 labels."""
        run(explore.main, "--data", write_folders(tmp_path / "set", tiny), "--out", tmp_path / "r.html", "--no-faces")
        assert "the folder layout has no FER2013 labels".lower() in (tmp_path / "r.html").read_text().lower()


class TestFindLr:
    """`python -m training.find_lr`."""

    def test_it_draws_the_losses_of_rising_rates(self, tiny_dir: Path, tmp_path: Path) -> None:
        """A page with the plot, and the suggestion in one line."""
        arguments = ("--data", tiny_dir, "--out", tmp_path / "lr.html", "--steps", 6)
        code, out, errors = run(find_lr.main, small(tmp_path), *arguments)
        assert code == 0, errors
        assert re.search(r"lr.html: \d steps; suggested peak rate: ", out)
        assert re.search(r"small, rates from 1e-06 to 1: .*\d/6", errors)  # a bar, beside the answer and not in it
        assert alone((tmp_path / "lr.html").read_text())

    @pytest.mark.parametrize("rates", [("--from", "nan"), ("--to", "nan"), ("--to", "inf")])
    def test_a_rate_is_a_number(self, rates: tuple[str, str], tiny_dir: Path, tmp_path: Path) -> None:
        """A range without an end, or without a number, would suggest a rate of nan or inf."""
        code, out, _ = run(find_lr.main, small(tmp_path), "--data", tiny_dir, "--out", tmp_path / "lr.html", *rates)
        assert (code, out) == (2, "")

    def test_a_student_has_its_teacher(self, keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
        """With --teacher a config with teacher_share runs; one without it is told that it wants none."""
        arguments = ("--data", tiny_dir, "--out", tmp_path / "lr.html", "--steps", 3, "--teacher", keras_file)
        code, _, errors = run(find_lr.main, small(tmp_path, "teacher_share=0.5"), *arguments)
        assert code == 0, errors
        code, _, errors = run(find_lr.main, small(tmp_path), *arguments)
        assert (code, "teacher_share 0: expected no --teacher" in errors) == (66, True)

    def test_it_suggests_a_third_of_the_rate_of_the_lowest_loss(self) -> None:
        """A loss that falls to its sixth step and explodes."""
        rates = tuple(10.0**i for i in range(-6, 2))
        found = find_lr.RangeTest(rates, (2.0, 1.9, 1.8, 1.5, 1.2, 0.1, 30.0, 90.0))
        assert found.suggestion() == pytest.approx(rates[5] / 3)

    def test_a_loss_that_never_falls_suggests_nothing(self) -> None:
        """No rate is better than a made-up one."""
        assert find_lr.RangeTest((0.1, 1.0), (2.0, 3.0)).suggestion() is None


class TestEvaluate:
    """`python -m training.evaluate`."""

    def test_json_holds_both_protocols_and_nothing_else_is_on_stdout(self, keras_file: Path, tiny_dir: Path) -> None:
        """Accuracy, macro-F1, calibration error with intervals; per-class precision and recall; confusion."""
        code, out, errors = run(evaluate.main, keras_file, "--data", tiny_dir, "--json")
        assert code == 0, errors
        (found,) = json.loads(out)
        assert found["split"] == "validation"  # nobody looks at the test split by accident
        assert found["protocols"].keys() == {"majority", "argmax"}
        majority = found["protocols"]["majority"]
        assert majority["n"] == 25
        assert majority["accuracy"]["ci95"][0] <= majority["accuracy"]["value"] <= majority["accuracy"]["ci95"][1]
        assert np.array(majority["confusion"]).sum() == 25
        assert re.search(r"final.keras: 100%.* 1/1 ", errors)  # a bar on stderr

    def test_keras_and_tflite_files_of_one_network_agree(
        self, keras_file: Path, tiny_dir: Path, tmp_path: Path
    ) -> None:
        """Both are taken, and give the same accuracy."""
        pytest.importorskip("tensorflow", reason="a .tflite is made by TensorFlow's converter")
        if keras.backend.backend() != "tensorflow":
            pytest.skip("the converter needs Keras on TensorFlow")
        from quantize import lite, source

        path = tmp_path / "final.tflite"
        path.write_bytes(lite.to_float(source.load(keras_file)))
        _, out, _ = run(evaluate.main, keras_file, path, "--data", tiny_dir, "--json")
        a, b = (found["protocols"]["majority"]["accuracy"]["value"] for found in json.loads(out))
        assert a == pytest.approx(b)

    def test_the_report_sets_models_side_by_side(self, keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
        """One page, each model under the shortest name that tells it apart."""
        other = tmp_path / "other" / "final.keras"
        other.parent.mkdir()
        other.write_bytes(keras_file.read_bytes())
        code, out, _ = run(evaluate.main, keras_file, other, "--data", tiny_dir, "--html", tmp_path / "r.html")
        html = (tmp_path / "r.html").read_text()
        assert code == 0
        assert "majority" in out
        assert "other/final.keras" in html
        for part in ("Overall", "Recall by class", "Reliability", "Confusion"):
            assert part in html
        assert alone(html)

    @pytest.mark.parametrize(("more", "looks"), [((), ""), (("--flip",), ", with mirror image")])
    def test_the_report_says_how_often_was_looked(
        self, more: tuple[str, ...], looks: str, keras_file: Path, tiny_dir: Path, tmp_path: Path
    ) -> None:
        """A page of two looks a face, passed on, is not taken for what the device does with one."""
        run(evaluate.main, keras_file, "--data", tiny_dir, "--html", tmp_path / "r.html", *more)
        assert f"Split: validation{looks}. " in (tmp_path / "r.html").read_text()

    @pytest.mark.parametrize(
        ("name", "code"), [("none.keras", 66), ("text.keras", 78), ("text.tflite", 78), ("a.h5", 66)]
    )
    def test_what_is_no_model_is_refused_in_one_line(
        self, name: str, code: int, tiny_dir: Path, tmp_path: Path
    ) -> None:
        """Missing, damaged, or of another kind."""
        if not name.startswith("none"):
            (tmp_path / name).write_text("hello, world")
        done, _, errors = run(evaluate.main, tmp_path / name, "--data", tiny_dir)
        lines = [line for line in errors.splitlines() if not line.startswith("reading")]
        assert done == code
        assert [line[:7] for line in lines] == ["error: "]

    def test_a_network_with_an_open_side_is_refused(self, tmp_path: Path) -> None:
        """Which side it is meant for is not in the file, and 48 px would be a guess."""
        narrow = config.Config("r", "resnet50", CONFIG.phases, width=0.125)
        models.build(narrow, None).save(tmp_path / "best.keras")
        with pytest.raises(ModelError, match=r"best.keras: expected a fixed input side, .* use the run's final.keras"):
            predict.load(tmp_path / "best.keras")

    def test_another_network_is_refused(self, tmp_path: Path) -> None:
        """One that takes no faces."""
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(8)]).save(tmp_path / "other.keras")
        with pytest.raises(ModelError, match=r"not ours: expected one square grey input .*, got \(None, 4\)"):
            predict.load(tmp_path / "other.keras")

    def test_probabilities_are_not_taken_for_logits(self, keras_file: Path, tmp_path: Path) -> None:
        """A softmax on top of a softmax: the accuracy would look right, and every probability be wrong."""
        network = checkpoint.read(keras_file)
        sure = keras.layers.Dense(8, activation="softmax")(network.layers[-2].output)
        keras.Model(network.input, sure).save(tmp_path / "sure.keras")
        with pytest.raises(ModelError, match=r"expected logits .*, got activation softmax"):
            predict.load(tmp_path / "sure.keras")

    def test_bare_operations_count_as_layers(self, keras_file: Path) -> None:
        """A softmax that is no layer at the end, and a step before the first layer."""
        network = checkpoint.read(keras_file)
        sure = keras.Model(network.input, keras.ops.softmax(network.output))
        with pytest.raises(ModelError, match="expected logits"):
            predict.check_ours(sure, "sure")
        turned = keras.Model(network.input, keras.layers.Dense(8)(keras.layers.Flatten()(255.0 - network.input)))
        with pytest.raises(ModelError, match="as the first layer"):
            predict.check_ours(turned, "turned")

    def test_weights_that_are_no_numbers_are_one_line(self, keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
        """Neither scores nor a teacher's file are made of them."""
        network = checkpoint.read(keras_file)
        network.set_weights([np.full_like(w, np.nan) for w in network.get_weights()])
        network.save(tmp_path / "nan.keras")
        done, _, errors = run(distill.main, tmp_path / "nan.keras", "--data", tiny_dir, "--out", tmp_path / "s.npz")
        assert (done, (tmp_path / "s.npz").exists()) == (78, False), errors
        assert f"error: {tmp_path}/nan.keras: expected finite logits" in errors

    def test_a_tflite_file_of_others_is_refused(self) -> None:
        """One with two outputs, as MediaPipe's face detector has them: one line that says what was expected."""
        from agent.vision import weights

        with pytest.raises(ModelError, match=r"not ours: expected one square grey face in, 8 logits out, got \(1, "):
            predict.tflite(weights.read(weights.SHORT_RANGE), "detector.tflite", 1)

    def test_a_report_that_cannot_be_written_is_refused_before_the_work(
        self, keras_file: Path, tiny_dir: Path, tmp_path: Path
    ) -> None:
        """No folder, a folder of its name, an ending that no browser knows: the test split is not looked at."""
        (tmp_path / "folder.html").mkdir()
        for name, code in (("none/r.html", 73), ("folder.html", 73), ("report", 2)):
            done, out, errors = run(evaluate.main, keras_file, "--data", tiny_dir, "--html", tmp_path / name)
            assert (done, out) == (code, ""), errors

    @pytest.mark.parametrize("rest", [bytes(4000), bytes(range(256)) * 16])
    def test_a_marked_file_of_nothing_is_one_line(self, rest: bytes) -> None:
        """The mark of a TFLite file, and no graph after it."""
        with pytest.raises(ModelError, match=r"junk.tflite: expected a whole TFLite model"):
            predict.tflite(b"\x1c\0\0\0TFL3" + rest, "junk.tflite", 1)

    @pytest.mark.parametrize("keep", [0.001, 0.3, 0.9])
    def test_a_truncated_tflite_file_is_one_line_and_no_crash(self, keep: float) -> None:
        """The native reader would end the process."""
        content = (ROOT / "agent" / "models" / "compact" / "model.tflite").read_bytes()
        with pytest.raises(ModelError, match=r"cut.tflite: expected a whole TFLite model, got a damaged one"):
            predict.tflite(content[: int(keep * len(content))], "cut.tflite", 1)

    def test_a_limit_that_leaves_no_face_is_one_line(self, keras_file: Path, tiny: data.Dataset) -> None:
        """Not a single one has a majority."""
        votes = np.zeros((1, 10), dtype=np.int64)
        votes[0, :8] = 1
        one = data.Split(tiny.test.faces[:1], votes, None)
        with pytest.raises(InputError, match="expected a face to measure under majority, got none in 1"):
            evaluate.evaluate(predict.load(keras_file), one)


class TestFit:
    """`python -m training.fit`; what it trains is in test_resume.py."""

    def test_another_seed_has_a_folder_of_its_own(
        self, tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The default folder of seed 2 is not that of the config's seed 1."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        arguments = (small(tmp_path), "--data", tiny_dir)
        for more, name in ((("--seed", 2), "small-seed2"), (("--seed", 1), "small"), ((), "small")):
            folder = tmp_path / "fer-agent" / "runs" / name / "epoch-0001"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.keras").touch()
            (folder / "history.json").write_text("[{}]")
            code, _, errors = run(fit.main, *arguments, *more)
            assert code == 66
            assert f"runs/{name}: holds a run already" in errors

    @pytest.mark.parametrize(("terminal", "verbose"), [("stdout", 1), ("stderr", 2)])
    def test_keras_draws_its_bar_on_a_terminal_alone(
        self, terminal: str, verbose: int, tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It writes to stdout: where that is a file, it gets a line an epoch, whatever stderr is."""
        streams = {name: SimpleNamespace(isatty=lambda name=name: name == terminal) for name in ("stdout", "stderr")}
        monkeypatch.setattr(fit, "sys", SimpleNamespace(**streams))
        asked: dict[str, object] = {}
        monkeypatch.setattr(loop, "fit", lambda *_, **how: asked.update(how))
        run(fit.main, small(tmp_path), "--data", tiny_dir, "--run", tmp_path / "run")
        assert asked["verbose"] == verbose

    def test_data_without_a_face_to_train_on_is_one_line(self, tiny: data.Dataset) -> None:
        """Every vote is for "unknown": said where the targets are made, so by training and rate search alike."""
        votes = np.tile(10 * np.eye(10, dtype=np.int64)[8], (96, 1))
        with pytest.raises(InputError, match=r"expected faces to train on \(majority\), got none in 96; use more"):
            recipe.targets(CONFIG, data.Split(tiny.train.faces, votes, None))

    def test_a_teacher_that_the_config_does_not_want_is_refused(
        self, keras_file: Path, tiny_dir: Path, tmp_path: Path
    ) -> None:
        """It would have no part in training, and the numbers would pass for a student's."""
        arguments = ("--data", tiny_dir, "--run", tmp_path / "run", "--teacher", keras_file)
        code, _, errors = run(fit.main, small(tmp_path), *arguments)
        assert code == 66
        assert "config small has teacher_share 0: expected no --teacher" in errors


class TestDistill:
    """`python -m training.distill`, and what a student makes of its file."""

    @pytest.fixture
    def soft(self, keras_file: Path, tiny_dir: Path, tmp_path: Path) -> Path:
        """The file of one teacher."""
        path = tmp_path / "soft.npz"
        code, out, errors = run(distill.main, keras_file, "--data", tiny_dir, "--flip", "--out", path)
        assert code == 0, errors
        assert "1 teachers, validation accuracy" in out
        assert re.search(r"final.keras: 100%", errors)  # a bar, as an ensemble looks at every face for minutes
        return path

    @pytest.mark.parametrize("temperature", ["nan", "inf"])
    def test_a_temperature_that_leaves_no_answer_is_refused(
        self, temperature: str, keras_file: Path, tiny_dir: Path, tmp_path: Path
    ) -> None:
        """By none a file of NaN was written, by infinity one that gives every emotion an eighth."""
        arguments = ("--data", tiny_dir, "--out", tmp_path / "s.npz", "--temperature", temperature)
        code, _, errors = run(distill.main, keras_file, *arguments)
        assert (code, (tmp_path / "s.npz").exists()) == (2, False), errors

    def test_the_accuracy_is_of_the_softened_answers(self, keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
        """One teacher is sure of class 0, one torn between 1 and 2: softened, their mean names class 1."""
        network = checkpoint.read(keras_file)
        for name, logits in (("sure", [10, 0, 0, 0, 0, 0, 0, 0]), ("torn", [0, 12, 12, 0, 0, 0, 0, 0])):
            head = network.get_layer("logits")
            head.set_weights([np.zeros_like(head.get_weights()[0]), np.array(logits)])
            network.save(tmp_path / f"{name}.keras")
        arguments = (tmp_path / "sure.keras", tmp_path / "torn.keras", "--data", tiny_dir, "--out", tmp_path / "s.npz")
        for temperature, of_class in ((1, 4 / 25), (100, 3 / 25)):
            _, out, errors = run(distill.main, *arguments, "--temperature", temperature)
            assert f"2 teachers, validation accuracy {of_class:.4f}" in out, errors

    def test_a_second_look_counts_half(self, keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
        """With --upright the file has the answers to the mean of both logits."""
        path = tmp_path / "both.npz"
        code, _, errors = run(distill.main, keras_file, "--data", tiny_dir, "--upright", "--limit", 8, "--out", path)
        assert code == 0, errors
        network, faces = predict.load(keras_file), data.head(data.load(tiny_dir), 8).train.faces
        logits = (network(faces) + network(upright.turned(faces))) / 2
        assert np.allclose(distill.load(path).probabilities, metrics.softmax(logits), atol=1e-6)

    def test_a_file_cannot_look_twice(self, soft: Path, tiny: data.Dataset) -> None:
        """Nor can a teacher that a config does not have."""
        settings = config.Config("s", "cnn", CONFIG.phases, teacher_share=0.5, teacher_upright=True)
        with pytest.raises(InputError, match=r"s has teacher_upright: expected models as --teacher, got a \.npz"):
            recipe.targets(settings, tiny.train, distill.load(soft))
        with pytest.raises(InputError, match="teacher_upright: expected False with teacher_share 0"):
            config.Config("s", "cnn", CONFIG.phases, teacher_upright=True)

    def test_a_student_learns_from_votes_and_teachers(self, soft: Path, tiny: data.Dataset) -> None:
        """With a share of 0.5 the target is the mean of both."""
        teacher = distill.load(soft)
        settings = config.Config("s", "cnn", CONFIG.phases, batch=16, train_on="all", teacher_share=0.5)
        _, target = recipe.targets(settings, tiny.train, teacher)
        _, votes = data.soft_targets(tiny.train, "all")
        assert np.allclose(target, (votes + teacher.probabilities) / 2)

    def test_models_that_look_for_themselves_teach_their_mean(self, keras_file: Path, tiny: data.Dataset) -> None:
        """The votes stay the target; what the models think of a view comes with it, as a file would have it."""
        teacher = distill.teacher_of([keras_file, keras_file])
        settings = config.Config("s", "cnn", CONFIG.phases, batch=16, train_on="all", teacher_share=0.5)
        _, target = recipe.targets(settings, tiny.train, teacher)
        assert np.array_equal(target, data.soft_targets(tiny.train, "all")[1])
        alone = metrics.softmax(predict.load(keras_file)(tiny.train.faces))
        assert callable(teacher)
        assert np.allclose(teacher(tiny.train.faces), alone, atol=1e-6)

    def test_a_file_that_may_not_grow_leaves_nothing(self, tiny: data.Dataset, tmp_path: Path) -> None:
        """A quota or a full disk: an OSError, and no half file under another name."""
        teacher = distill.Teacher(data.digest(tiny.train.faces), np.zeros((96, 8), np.float32))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        try:
            with pytest.raises(OSError, match=r"."):
                distill.save(tmp_path / "soft.npz", teacher, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("keep", [0, 4, 3000])
    def test_a_damaged_file_is_one_line(self, keep: int, soft: Path, tmp_path: Path) -> None:
        """Cut off anywhere, whatever numpy and zipfile raise."""
        (tmp_path / "cut.npz").write_bytes(soft.read_bytes()[:keep])
        with pytest.raises(InputError, match=r"cut.npz: expected a file of training.distill"):
            distill.load(tmp_path / "cut.npz")

    def test_a_file_beside_models_is_refused(self, soft: Path, keras_file: Path) -> None:
        """Their mean would mean nothing."""
        with pytest.raises(InputError, match="expected one file"):
            distill.teacher_of([keras_file, soft])

    def test_a_teacher_of_other_faces_is_refused(self, soft: Path) -> None:
        """Its rows would belong to somebody else."""
        settings = config.Config("s", "cnn", CONFIG.phases, batch=16, teacher_share=0.5)
        with pytest.raises(InputError, match="other faces"):
            recipe.targets(settings, split(96, 9), distill.load(soft))

    def test_a_config_that_wants_a_teacher_says_so(self, tiny: data.Dataset) -> None:
        """The message names the option."""
        with pytest.raises(InputError, match="--teacher"):
            recipe.targets(config.Config("s", "cnn", CONFIG.phases, teacher_share=0.5), tiny.train)


class TestAblate:
    """`python -m training.ablate`."""

    SHORT = ("--epochs", 1, "--limit", 64)

    def test_it_compares_each_change_with_the_config_as_it_is(self, tiny_dir: Path, tmp_path: Path) -> None:
        """Same seeds for all, the change by seed, and the cost."""
        code, out, errors = run(
            ablate.main, "cnn", "--vary", "balance=weights,sampler", "--data", tiny_dir, "--out", tmp_path,
            "--seed", 1, "--seed", 2, *self.SHORT,
        )  # fmt: skip
        assert code == 0, errors
        assert (tmp_path / "table.md").read_text() == out
        assert re.search(r"balance=weights-seed2: 100%.* 1/1 .*validation accuracy 0\.\d{4}", errors)
        assert [line.split(" | ")[0] for line in out.splitlines()[2:]] == [
            "| as configured", "| balance = weights", "| balance = sampler"
        ]  # fmt: skip
        assert re.search(r"\| balance = weights \| 0\.\d{4} \| \*\*[+-]\d+\.\d\*\* \([+-].*, [+-].*\) \|", out)

    def test_what_was_trained_before_a_kill_is_not_trained_again(self, tiny_dir: Path, tmp_path: Path) -> None:
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
            *self.SHORT,
        )
        _, first, _ = run(ablate.main, *arguments)
        weights = (tmp_path / "asconfigured-seed1" / "final.keras").stat().st_mtime_ns
        _, second, _ = run(ablate.main, *arguments)
        assert second == first
        assert (tmp_path / "asconfigured-seed1" / "final.keras").stat().st_mtime_ns == weights

    def test_results_of_another_run_are_not_taken(self, tiny: data.Dataset, tmp_path: Path) -> None:
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
        self, stored: str, tiny: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A power failure empties a file that was just written; the run beside it is whole."""
        record.of(CONFIG, tiny).write(tmp_path)
        (tmp_path / "result.json").write_text(stored)
        monkeypatch.setattr(loop, "fit", lambda *_, **__: models.build(CONFIG, 48).save(tmp_path / "final.keras"))
        again = ablate.run(CONFIG, tiny, tmp_path)
        assert 0 <= again.accuracy <= 1
        assert ablate.run(CONFIG, tiny, tmp_path) == again

    def test_two_do_not_train_in_one_folder(self, tiny: data.Dataset, tmp_path: Path) -> None:
        """They would take each other's checkpoints away."""
        with checkpoint.alone(tmp_path), pytest.raises(InputError, match="another run is at work in this folder"):
            ablate.run(CONFIG, tiny, tmp_path)

    def test_a_seed_that_is_named_twice_counts_once(
        self, tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same run again is no second witness."""
        monkeypatch.setattr(ablate, "run", lambda *_: ablate.Result(0.5, 0.5, 1))
        seeds = ("--seed", 3, "--seed", 3)
        code, out, errors = run(ablate.main, "cnn", "--vary", "batch=8", "--data", tiny_dir, "--out", tmp_path, *seeds)
        assert (code, "mean of 1 seeds" in out, "(+0.0) |" in out) == (0, True, True), errors

    def test_students_have_their_teacher(self, keras_file: Path, tiny_dir: Path, tmp_path: Path) -> None:
        """--teacher teaches the variants that have a share of it, and is refused where none has."""
        arguments = ("--data", tiny_dir, "--out", tmp_path, "--seed", 1, "--teacher", keras_file)
        student = small(tmp_path, "teacher_share=0.5")
        code, out, errors = run(ablate.main, student, "--vary", "teacher_share=0.0", *arguments)
        assert code == 0, errors
        assert "| teacher_share = 0.0 |" in out
        code, _, errors = run(ablate.main, "cnn", "--vary", "balance=weights", *arguments)
        assert (code, "teacher_share 0: expected no --teacher" in errors) == (66, True)

    def test_a_value_that_is_written_twice_is_one_variant(self) -> None:
        """1e-2 and 0.01 would be trained, and stand in the table, as two."""
        names = list(ablate.variants(config.load("cnn"), ["learning_rate=1e-2,0.01", "learning_rate=0.01,0.001"]))
        assert names == [ablate.BASE, "learning_rate = 1e-2"]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ("batch=0", "--vary batch=0: batch: expected a whole number from 1"),
            ("balanse=weights", "no such field; there are"),
            ("balance=wieghts", "expected none, weights, sampler"),
            ("batch=many", "expected a int, such as 64"),
            ("balance", "expected FIELD=VALUE"),
            ("loss=soft", "nothing to compare"),
        ],
    )
    def test_a_change_that_cannot_be_is_one_line(self, change: str, says: str) -> None:
        """It names what there is."""
        with pytest.raises(UsageError, match=re.escape(says)):
            ablate.variants(config.load("cnn"), [change])
