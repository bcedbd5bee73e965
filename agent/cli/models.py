"""`fer-agent models`: which models are on the device, and how a signed one comes, shows itself, and goes."""

from dataclasses import asdict
from pathlib import Path

import click

from agent.cli._state import act_as_owner, print_json, settings_of, state_options
from agent.config import Settings
from agent.errors import CheckFailed
from agent.trust.accept import works_here
from agent.trust.guard import models_of
from agent.trust.inventory import listed
from agent.trust.signed_bundle import held
from agent.trust.store import ModelStore
from agent.vision.model_card import Bundle, find


@click.group()
def command() -> None:
    """Models: a signed bundle is installed beside the one in use, tried, and kept or rolled back.

    \b
    Example:
      minisign -S -s release.key -m resnet50/SHA256SUMS     (where bundles are made)
      fer-agent models install resnet50/                    (on the device)
    """


@command.command("list")
@state_options
def list_command(config: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """List the models on this device; * is the one that the next start takes.

    \b
    Example:
      fer-agent models list --json
    """
    rows = listed(_store(settings_of(config, state_dir)))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        click.echo(f"{'*' if row.active else ' '} {row.name:9}{row.role:10} {row.id or row.problem}")


@command.command("verify")
@click.argument("bundle", required=False)
@state_options
def verify_command(bundle: str | None, config: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """Check hashes, card and golden outputs of all models here; or of the folder BUNDLE, with its signature.

    \b
    Example:
      fer-agent models verify /media/usb/resnet50
    """
    settings = settings_of(config, state_dir)
    accept = works_here(settings.classify)
    if bundle is not None:
        if (folder := Path(bundle)).is_dir():
            with held(folder) as read:  # as for install
                accept(_store(settings).verify(folder, read))
        else:
            act_as_owner(settings.agent.state_dir)
            accept(Bundle.load(find(bundle)))
        _report(as_json, {"bundle": bundle, "whole": True}, f"{bundle}: whole")
        return
    rows = listed(_store(settings), accept)
    broken = [row for row in rows if row.problem is not None]
    _report(as_json, [asdict(row) for row in rows], "\n".join(f"{r.name}: {r.problem or 'whole'}" for r in rows))
    if broken:
        raise CheckFailed(f"{len(broken)} of {len(rows)} models must not be used: {broken[0].problem}")


@command.command("install")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Allow a bundle that was signed before the newest ever installed.")
@state_options
def install_command(bundle: Path, force: bool, config: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """Install the signed bundle in the folder BUNDLE; the next start of the agent tries it.

    Its SHA256SUMS must be signed (SHA256SUMS.minisig) by a key in updates.keys of agent.toml.

    \b
    Example:
      fer-agent models install /media/usb/resnet50
    """
    settings = settings_of(config, state_dir)
    with held(bundle) as read:  # with root's rights, which alone may lead into a home folder or to a USB stick
        name = _store(settings).install(bundle, force=force, read=read)
    _report(
        as_json,
        {"installed": name, "state": "trial"},
        f"{name}: installed; the next start tries it, {settings.updates.good_windows} good windows keep it",
    )


@command.command("rollback")
@state_options
def rollback_command(config: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """Go back by one model, from the next start on: from a trial to what was in use, from that to the one before, and
    from the first to the package's own. What was gone back from comes again by `install` only.

    \b
    Example:
      fer-agent models rollback
    """
    name = _store(settings_of(config, state_dir)).rollback()
    _report(as_json, {"next": name}, f"the next start takes {name}")


def _store(settings: Settings) -> ModelStore:
    act_as_owner(settings.agent.state_dir)
    return models_of(settings)


def _report(as_json: bool, value: object, text: str) -> None:
    if as_json:
        print_json(value)
    else:
        click.echo(text)
