"""Options of the commands that look at this device's own files: which configuration, which state folder."""

import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agent.config import Settings
from agent.config.file import DEFAULT_PATH, Loaded, load

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),  # what cannot be read is told by `load`, with what mends it
    default=None,
    metavar="FILE",
    help=f"agent.toml [{DEFAULT_PATH}, if it is there].",
)
"""Add --config; the command takes `config`."""


def state_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, --state-dir and --json; the command takes `config`, `state_dir` and `as_json`."""
    options = (
        config_option,
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path),
            default=None,
            metavar="DIR",
            help="Folder of the state [agent.state_dir].",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, nothing else there."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def loaded_of(config: Path | None, overrides: dict[str, Any] | None = None) -> Loaded:
    """What `config_option` names, as `agent.config.file.load` reads it. Raises ConfigError."""
    return warned(load(config or (DEFAULT_PATH if DEFAULT_PATH.exists() else None), overrides=overrides))


def warned(loaded: Loaded) -> Loaded:
    """Return what was loaded, and say its warnings on stderr."""
    for line in loaded.warnings:
        click.echo(f"warning: {line}", err=True)
    return loaded


def settings_of(config: Path | None, state_dir: Path | None) -> Settings:
    """The settings that the options name. Raises ConfigError."""
    overrides = {"agent.state_dir": str(state_dir.absolute())} if state_dir else None
    return loaded_of(config, overrides).settings


def act_as_owner(state_dir: Path) -> None:
    """As root, become the owner of the state folder, with its groups (the camera's): what is written there must be the
    agent's to change, and a model is parsed with the agent's rights, not root's."""
    if os.geteuid() != 0 or not state_dir.is_dir():
        return
    owner = state_dir.stat()
    if owner.st_uid != 0:
        try:
            os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
        except KeyError:  # a folder of a user that this machine does not know
            os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))
