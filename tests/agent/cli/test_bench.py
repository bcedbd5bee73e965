"""`fer-agent bench`: what it prints. Never how long anything took."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.bench import STAGES, command
from agent.errors import InputError, ModelError
from agent.vision.model_card import MODELS

MODEL = os.environ.get("FER_BUNDLE", str(MODELS / "released"))

needs_model = pytest.mark.skipif(not Path(MODEL).is_dir(), reason="no released model")


@needs_model
def test_json_holds_every_number(demo_clip):
    """`--json` prints one object with every stage, faces, memory and the share of the period, all >= 0."""
    done = CliRunner().invoke(
        command,
        [str(demo_clip), "--model", MODEL, "--fps", "0.5", "--seconds", "250", "--json"],
        catch_exceptions=False,
    )
    report = json.loads(done.stdout)
    assert set(report["stages_ms"]) == set(STAGES)
    assert all(0 <= v["p50"] <= v["p95"] for v in report["stages_ms"].values())
    assert report["samples"] == 5
    assert 7 <= report["faces_per_sample"] <= 9
    assert report["faces_per_s"] > 0
    assert report["rss_mb"] > 20
    assert report["period_used"] > 0


@needs_model
def test_text_names_every_stage():
    """Without a video it measures the demo's classroom and prints a line a stage."""
    done = CliRunner().invoke(command, ["--model", MODEL, "--seconds", "2"], catch_exceptions=False)
    assert all(stage in done.stdout for stage in STAGES)


@needs_model
def test_missing_video_is_an_input_error(tmp_path):
    """A video that is not there is an input error, not a traceback."""
    done = CliRunner().invoke(command, [str(tmp_path / "none.mp4"), "--model", MODEL])
    assert isinstance(done.exception, InputError)


def test_missing_model_is_a_model_error(tmp_path):
    """A bundle that is not there is a model error that names it."""
    done = CliRunner().invoke(command, ["--model", str(tmp_path / "none")])
    assert isinstance(done.exception, ModelError)
    assert "none" in str(done.exception)
