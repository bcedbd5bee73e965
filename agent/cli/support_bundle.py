"""`fer-agent support-bundle`: one archive for whoever helps, without secrets or pixels."""

import time
from pathlib import Path

import click

from agent.config_file import DEFAULT_PATH, load
from agent.device.status_socket import ask
from agent.device.support import write


@click.command()
@click.argument("target", type=click.Path(path_type=Path), required=False)
@click.option(
    "--config", type=click.Path(path_type=Path), default=None, help=f"agent.toml [{DEFAULT_PATH}, if it is there]."
)
def command(target: Path | None, config: Path | None) -> None:
    """Write settings, findings, versions, status and the journal's last lines to TARGET (a .tar.gz).

    No password, key, user name, picture, window or audit entry goes in; look into it before you send it.

    \b
    Example:
      sudo fer-agent support-bundle /tmp/support.tar.gz
    """
    path = target or Path(time.strftime("fer-agent-support-%Y%m%d-%H%M%S.tar.gz"))
    loaded = load(config or (DEFAULT_PATH if DEFAULT_PATH.exists() else None))
    names = write(path, loaded, ask)
    click.echo(f"{path}: {', '.join(names)}", err=True)
