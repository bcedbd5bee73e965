"""deploy/README.md says what is true: its configuration loads, its commands and files exist."""

import re
from pathlib import Path

import pytest

from agent.cli import cli
from agent.config_file import load
from agent.insight.policy import check_policy

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TEXT = (DEPLOY / "README.md").read_text()


def test_the_least_configuration_opens_a_camera(tmp_path: Path) -> None:
    """The TOML of the page is valid and its policy lets a live camera start."""
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "agent.toml").write_text(block)
    settings = load(tmp_path / "agent.toml", environ={}).settings
    check_policy(settings, live=True)
    assert settings.mqtt.tls


@pytest.mark.parametrize("line", sorted(set(re.findall(r"fer-agent ([a-z][a-z-]*(?: [a-z]+)?)", TEXT))))
def test_every_command_exists(line: str) -> None:
    """Each `fer-agent …` on the page is a command, and its second word a command of that group."""
    name, _, second = line.partition(" ")
    if name not in cli.list_commands(None):  # type: ignore[arg-type]
        pytest.fail(f"fer-agent {name}: no such command")
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert not second or not hasattr(command, "commands") or second in command.commands


def test_every_link_leads_somewhere() -> None:
    """Links to files of the repository are not broken."""
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in target]
    assert [target for target in links if not (DEPLOY / target).exists()] == []
    assert len(links) > 5
