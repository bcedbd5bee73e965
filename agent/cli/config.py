"""`fer-agent config`: check, show, write and describe the configuration."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from agent.cli._service import as_the_service
from agent.cli._state import config_option, loaded_of, print_json, warned
from agent.config.file import DEFAULT_PATH, Loaded, Problem, SettingsError, load
from agent.config.text import commented, shown
from agent.config.words import schema, toml
from agent.device.unit import installed, is_the_service
from agent.errors import CannotWriteError

_FILE: Final = click.Path(path_type=Path, readable=False)


@click.group()
def command() -> None:
    """Check, show, write and describe agent.toml.

    \b
    Example:
      fer-agent config init > agent.toml
      fer-agent config check agent.toml
    """


@command.command("check")
@click.argument("file", type=_FILE, default=DEFAULT_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON on stdout.")
def check(file: Path, as_json: bool) -> None:
    """Print FILE:LINE: and what is wrong, for everything that is; exit 78 if anything is.

    conf.d beside FILE and FER_AGENT__… variables are checked with it, and what the service checks when it starts:
    policy, video, model, weight table, calibration, TLS and password files. Camera and broker are for `doctor`. As
    root, a file in /etc/fer-agent is checked as the service's own user, with its secrets; what somebody else cannot
    read is not checked, and a line on stderr says so.

    \b
    Example:
      fer-agent config check /etc/fer-agent/agent.toml
    """
    if file.absolute().is_relative_to(DEFAULT_PATH.parent):
        as_the_service("config", "check", str(file.absolute()), *(["--json"] if as_json else []))
    problems: tuple[Problem, ...]
    try:
        problems = tuple(_of_a_start(file, warned(load(file))))
    except SettingsError as error:
        problems = error.problems
    if as_json:
        print_json([vars(problem) for problem in problems])
    else:
        for problem in problems:
            click.echo(str(problem))
    if problems:
        sys.exit(SettingsError.exit_code)
    if not as_json:
        click.echo(f"{file}: good", err=True)


def _of_a_start(file: Path, loaded: Loaded) -> Iterator[Problem]:
    """Yield what would end a start of the service; say on stderr what this user cannot look at."""
    from agent.config.start import refusals
    from agent.device.check_host import paths

    settings = loaded.settings
    for finding in paths(settings):
        if finding.verdict == "FAIL" and finding.name != "paths.pause_file":  # a refusal tells of that one
            key, _, what = finding.found.partition(" = ")
            yield Problem(loaded.where(key) or str(file), key, f"{what}; {finding.mend}")
    for reason in refusals(settings, served=installed() or is_the_service()):
        if reason.forbidden and not is_the_service():
            click.echo(f"not checked: {reason}; run: sudo fer-agent config check {file}", err=True)
        else:
            yield Problem(loaded.where(reason.key) or str(file), reason.key, reason.what)


@command.command("show")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def show(config: Path | None, as_json: bool) -> None:
    """Print every setting in force and where it came from.

    Later wins: defaults, agent.toml, conf.d/*.toml by name, FER_AGENT__SECTION__KEY, the command line.

    \b
    Example:
      FER_AGENT__CAMERA__FPS=2 fer-agent config show
    """
    loaded = loaded_of(config)
    rows = shown(loaded)
    if as_json:
        print_json({"files": [str(f) for f in loaded.files], "settings": rows})
        return
    for row in rows:
        click.echo(f"{row['key']} = {toml(row['value'])}  # {row['origin']}")


@command.command("init")
@click.argument("file", type=_FILE, required=False)
def init(file: Path | None) -> None:
    """Write a commented agent.toml with every setting to FILE (stdout without it); never over an existing file.

    \b
    Example:
      fer-agent config init /etc/fer-agent/agent.toml
    """
    if file is None:
        click.echo(commented(), nl=False)
        return
    made = False
    try:
        with file.open("x", encoding="utf-8") as out:
            made = True
            out.write(commented())
    except OSError as error:
        if made:  # half of it would be in the next one's way
            file.unlink(missing_ok=True)
        raise CannotWriteError(f"{file}: expected a place for a new file, got: {error.strerror}") from error
    click.echo(f"{file}: written; now edit it and run: fer-agent config check {file}", err=True)


@command.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of agent.toml, for editors.

    \b
    Example:
      fer-agent config schema > agent.schema.json     (then, in agent.toml: #:schema agent.schema.json)
    """
    click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
