"""`fer-agent audit`: is the log of what people changed still whole?"""

from pathlib import Path

import click

from agent.cli._state import print_json, settings_of, state_options
from agent.errors import AccessError, CheckFailed, InputError, UsageError
from agent.trust.audit import Head, verify


@click.group()
def command() -> None:
    """The audit log: mode, policy, configuration, model and ε changes, never a measurement.

    \b
    Example:
      fer-agent audit verify --state-dir /var/lib/fer-agent
    """


@command.command("verify")
@state_options
@click.option("--head", "known", default=None, metavar="N:HASH", help="A head that was noted elsewhere, to check too.")
def verify_command(config: Path | None, state_dir: Path | None, as_json: bool, known: str | None) -> None:
    """Check every line's hash and the end of the log; exit 1 and name the line if one was changed or removed.

    Whoever can write the whole state folder can also forge it: compare with a head that was noted elsewhere.

    \b
    Example:
      fer-agent audit verify --head 12:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    try:
        head = Head.parse(known) if known else None
    except ValueError as cause:
        raise UsageError(f"--head: {cause}") from cause
    folder = settings_of(config, state_dir).agent.state_dir
    try:
        verdict = verify(folder, head)
    except PermissionError as cause:
        raise AccessError(f"{cause.filename}: permission denied; run it as the agent's user or root") from cause
    except OSError as cause:
        raise InputError(f"{folder / 'audit.log'}: expected an audit log ({cause.strerror})") from cause
    problems = [{"line": line, "problem": text} for line, text in verdict.problems]
    if as_json:
        shown = str(verdict.head) if verdict.head else None
        print_json({"entries": verdict.entries, "head": shown, "whole": not problems, "problems": problems})
    for line, text in verdict.problems:
        click.echo(f"{folder / 'audit.log'}:{line}: {text}", err=True)
    if problems:
        raise CheckFailed(f"{folder / 'audit.log'}: {len(problems)} problem(s) in {verdict.entries} lines")
    if not as_json:
        click.echo(f"{folder / 'audit.log'}: whole, {verdict.entries} entries, head {verdict.head}")
