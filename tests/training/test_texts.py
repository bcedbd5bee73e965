"""What configs and README say of the released networks is what their cards and layers say."""

import math
import re

import pytest

from agent.vision.model_card import MODELS, Bundle
from tests.training.conftest import ROOT
from training import config, models

NAMES = sorted(path.stem for path in (ROOT / "training" / "configs").glob("[a-z]*.py"))
README = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
ROWS = {"released": "fourteenth round, from the mean", "coral": "a third cycle, at 96 px"}
"""Bundle → beginning of its float network's row in the table of results; `compact` has three cycles in one row."""


def text(name: str) -> str:
    """Return the head of a config's file, on one line."""
    return " ".join((ROOT / "training" / "configs" / f"{name}.py").read_text(encoding="utf-8").split('"""')[1].split())


def multiply_adds(name: str) -> int:
    """Return those of a face through the network of the config `name`, at its last phase's side."""
    settings = config.load(name)
    weighed = [layer for layer in models.build(settings, settings.phases[-1].side).layers if hasattr(layer, "kernel")]
    return sum(math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1]) for layer in weighed)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("cnn")])
def test_a_small_networks_cost_is_that_of_its_layers(name: str) -> None:
    """The multiply-adds of its text are counted, and those of `cnn`, which has no card, are README's, too."""
    (said,) = re.findall(r"(\d+) M multiply-adds", text(name))
    counted = round(multiply_adds(name) / 1e6)
    assert int(said) == counted
    if name == "cnn":
        assert f"`cnn` ({counted} M" in (ROOT / "quantize" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["released", "compact", "coral"])
def test_a_configs_result_is_its_cards(name: str) -> None:
    """Float accuracy on validation and test, int8 on test before and after calibration, cost: all are in the text."""
    card = Bundle.load(MODELS / name).card
    assert f"{round(card.macs / 1e6)} M multiply-adds a face" in text(card.training.config)
    rows = [m for m in card.metrics if m.name == "accuracy" and (m.split == "test" or m.model == "float")]
    assert len(rows) == 4
    for metric in rows:
        assert f"{metric.value:.4f}" in text(card.training.config), metric


@pytest.mark.parametrize("name", ROWS)
def test_the_table_has_the_cards_epochs_and_accuracies(name: str) -> None:
    """The row of the float network counts the epochs that are in its weights."""
    card = Bundle.load(MODELS / name).card
    (row,) = [line for line in README.splitlines() if line.startswith("| " + ROWS[name])]
    epochs, (validation, test) = row.split("|")[-2], row.split("|")[4:6]
    assert int(epochs.split()[0].rstrip(",")) == card.training.epochs
    found = {m.split: m.value for m in card.metrics if (m.name, m.model) == ("accuracy", "float")}
    assert f"{found['validation']:.4f}" in validation
    assert f"{found['test']:.4f}" in test


@pytest.mark.parametrize("name", ["released", "compact", "coral"])
def test_the_way_to_a_bundle_begins_where_its_config_says(name: str) -> None:
    """README sends to the commit that the config's text names, not to that of an older release."""
    (commit,) = re.findall(r"in commit (\w{7})", text(Bundle.load(MODELS / name).card.training.config))
    assert f"commit {commit}" in README.split("## Reproduce")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_can_be_copied(name: str) -> None:
    """A line that goes on ends in one backslash, as a shell wants it."""
    assert "\\\\" not in text(name)
