"""What the documents show is true: links, commands with their options, TOML, and the model's numbers."""

import importlib.util
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agent.cli import cli as agent_cli
from agent.config import Settings
from agent.vision.model_card import MODELS, Bundle
from tests.conftest import ROOT

DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {part for part in path.relative_to(ROOT).parts if part.startswith(".") or part in ("build", "node_modules")}
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path: Path, *languages: str) -> list[str]:
    """The fenced blocks of a document in these languages."""
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def commands() -> Iterator[tuple[str, list[str]]]:
    """(document, words) of every command line that a document shows."""
    for path in DOCUMENTS:
        for block in blocks(path, "sh", "bash", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip().removeprefix("$ ")
                if text and not text.startswith("#"):
                    words = shlex.split(text, comments=True)
                    while words and (words[0] in ("sudo", "nice") or "=" in words[0] or words[0] == "-u"):
                        words = words[2:] if words[0] == "-u" else words[1:]
                    if words:
                        yield str(path.relative_to(ROOT)), words


def group_of(program: str) -> click.Command | None:
    if program == "fer-agent":
        return agent_cli
    if program == "fer-collector":
        pytest.importorskip("sqlalchemy", reason="needs the collector extra")
        from deploy.collector.cli import cli

        return cli
    return None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link of a document names a file or folder that is there."""
    text = path.read_text(encoding="utf-8")
    targets = {t for t in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in t and "mailto:" not in t}
    assert [target for target in sorted(targets) if not (path.parent / target).exists()] == []


def test_commands_exist_with_their_options() -> None:
    """Every `fer-agent` and `fer-collector` line names a command that is there, and options that it has."""
    wrong, seen = [], 0
    for where, words in commands():
        command = group_of(words[0])
        if command is None:
            continue
        seen += 1
        rest = words[1:]
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            found = command.get_command(click.Context(command), rest[0])
            if found is None:
                wrong.append(f"{where}: {' '.join(words)}: no such command")
                break
            command, rest = found, rest[1:]
        known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help", "-h", "--version"}
        wrong += [
            f"{where}: {' '.join(words)}: no option {word}"
            for word in rest
            if word.startswith("--") and word.partition("=")[0] not in known
        ]
    assert wrong == []
    assert seen > 5


def test_scripts_and_modules_exist() -> None:
    """Every `scripts/…`, `deploy/…` and `python -m …` that a document shows is there."""
    wrong = []
    for where, words in commands():
        if words[0].startswith(("scripts/", "deploy/")) and not os.access(ROOT / words[0], os.X_OK):
            wrong.append(f"{where}: {words[0]}")
        if Path(words[0]).name.startswith("python") and words[1:2] == ["-m"]:
            name = words[2]
            if name.partition(".")[0] in ("agent", "training", "quantize", "deploy", "tests"):
                try:
                    found = importlib.util.find_spec(name)
                except ModuleNotFoundError:
                    found = None
                if found is None:
                    wrong.append(f"{where}: python -m {name}")
    assert wrong == []


def test_toml_is_valid() -> None:
    """Every TOML block is a configuration that the agent accepts."""
    found = [block for path in DOCUMENTS for block in blocks(path, "toml")]
    for block in found:
        Settings.model_validate(tomllib.loads(block))
    assert len(found) >= 2


def test_the_demo_of_the_readme_runs(tmp_path: Path) -> None:
    """`scripts/demo`, called from elsewhere, plays, shows at least one window and ends with 0."""
    if not (ROOT / ".venv").is_dir():
        pytest.skip("scripts/demo would make .venv; this run does not use it")
    assert "scripts/demo --seconds 30" in (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("20", "agent"):  # neither what an option's value is called nor the program's own name matters there
        (tmp_path / name).mkdir()
    command = [str(ROOT / "scripts/demo"), "--seconds", "20", "--smallest-face", "36"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert re.search(r"demo/room +1 +8 ", done.stderr), done.stderr


@pytest.mark.parametrize("name", ["released", "compact", "coral"])
def test_the_models_numbers_are_those_of_their_cards(name: str) -> None:
    """The README's accuracies of the package's models are the measured ones of card.json, with their n."""
    if not (MODELS / name).is_dir():
        pytest.skip(f"no model called {name}")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    metrics = Bundle.load(MODELS / name).card.metrics
    wanted = [m for m in metrics if m.split == "test" and m.faces == "majority" and m.name == "accuracy"]
    assert {m.model for m in wanted} >= {"float", "int8"}
    for metric in wanted:
        assert f"{metric.value:.4f}" in readme, metric
        assert f"{metric.n:,}" in readme
