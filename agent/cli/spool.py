"""`fer-agent spool`: windows that wait on this device for a collector."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from agent.cli._state import act_as_owner, print_json, settings_of, state_options
from agent.config import Settings
from agent.delivery.disk import DiskSpool
from agent.delivery.look import Kept, Look, look
from agent.errors import AccessError, CannotWriteError, InputError, UsageError


@click.group()
def command() -> None:
    """The windows that wait on this device until a collector has them.

    \b
    Example:
      fer-agent spool ls --state-dir /var/lib/fer-agent
    """


@command.command("ls")
@state_options
def list_command(config: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """Say how many windows wait, from when, and on how much disk. The agent may be running.

    \b
    Example:
      fer-agent spool ls --json
    """
    folder = _folder(settings_of(config, state_dir))
    found = _look(folder)
    waiting, marks = found.waiting, found.marks
    ends = [waiting[0].body["start_ms"], waiting[-1].body["end_ms"]] if waiting else []
    summary = {
        "folder": str(folder),
        "epoch": marks.epoch,
        "newest_seq": max(
            (r.seq for r in found.records if r.epoch == marks.epoch), default=max(marks.acked or 0, marks.confirmed)
        ),
        "acked_seq": marks.acked,
        "waiting": len(waiting),
        "oldest": _when(ends[0]) if ends else None,
        "newest": _when(ends[1]) if ends else None,
        "gaps": [r.body for r in found.records if r.kind == "gap" and not r.acked],
        "files": found.files,
        "bytes": found.size,
        "damaged_files": found.damaged,
    }
    if as_json:
        print_json(summary)
        return
    acked = "no collector has acknowledged any yet" if marks.acked is None else f"acknowledged up to {marks.acked}"
    click.echo(f"{folder}: epoch {marks.epoch}, newest window {summary['newest_seq']}, {acked}")
    if waiting:
        click.echo(f"{len(waiting)} windows wait, from {summary['oldest']} to {summary['newest']}")
    else:
        click.echo("no windows wait")
    for gap in found.records:
        if gap.kind == "gap" and not gap.acked:
            click.echo("lost: {from} to {to} ({reason})".format(**gap.body))
    click.echo(f"{found.files} files, {found.size / 1e6:.1f} MB, {found.damaged} damaged")


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@state_options
@click.option("--all", "everything", is_flag=True, help="Also windows that a collector has and that are still here.")
def export_command(
    file: Path | None, config: Path | None, state_dir: Path | None, as_json: bool, everything: bool
) -> None:
    """Write the windows that wait to FILE (stdout without it), one payload a line. The agent may be running.

    Nothing is taken out of the spool. FILE must not exist.

    \b
    Example:
      fer-agent spool export windows.jsonl
    """
    found = _look(_folder(settings_of(config, state_dir)))
    rows = [r for r in found.records if r.kind == "window"] if everything else found.waiting
    if file is None:
        _write(rows, sys.stdout)
        return
    try:
        with file.open("x", encoding="utf-8") as out:
            try:
                _write(rows, out)
                out.flush()
            except BaseException:
                file.unlink()  # half of the windows must not look like all of them
                raise
    except OSError as error:
        raise CannotWriteError(f"{file}: expected a place for a new file, got: {error.strerror}") from error
    if as_json:
        print_json({"file": str(file), "windows": len(rows)})
    else:
        click.echo(f"{file}: {len(rows)} windows", err=True)


@command.command("drop")
@state_options
@click.option("--yes", is_flag=True, help="Do it: these windows are lost.")
def drop_command(config: Path | None, state_dir: Path | None, as_json: bool, yes: bool) -> None:
    """Delete all windows that wait. The collector will be told that they are lost; numbers are not used again.

    The agent must not run: systemctl stop fer-agent.

    \b
    Example:
      fer-agent spool drop --yes
    """
    settings = settings_of(config, state_dir)
    folder = _folder(settings)
    count = len(_look(folder).waiting)
    if not yes:
        raise UsageError(f"{folder}: this would lose {count} windows; export them first, then give --yes")
    act_as_owner(folder)
    try:
        spool = DiskSpool(folder, round(settings.mqtt.spool_mb * 1e6), float("inf"))
    except PermissionError as error:
        raise AccessError(f"{folder}: cannot open the spool ({error.strerror}); run it as the agent's user") from error
    except OSError as error:
        raise CannotWriteError(f"{folder}: cannot open the spool ({error.strerror})") from error
    try:
        lost = spool.drop()
    except OSError as error:
        raise CannotWriteError(f"{folder}: {error.strerror}") from error
    finally:
        spool.close()
    if as_json:
        print_json({"dropped": count, "declared_lost": lost})
    else:
        click.echo(f"{folder}: {count} windows dropped" + (f", {lost[0]} to {lost[1]} declared lost" if lost else ""))


def _folder(settings: Settings) -> Path:
    return settings.agent.state_dir / "spool"


def _look(folder: Path) -> Look:
    try:
        return look(folder)
    except PermissionError as error:
        raise AccessError(f"{error.filename}: permission denied; run it as the agent's user or root") from error
    except OSError as error:
        raise InputError(f"{folder}: expected a spool, got: {error.strerror}; give --state-dir") from error


def _write(rows: list[Kept], out: TextIO) -> None:
    for row in rows:
        out.write(json.dumps(row.body, separators=(",", ":")) + "\n")


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
