"""`fer-agent support-bundle`: one archive for whoever helps, without secrets or pixels."""

import time
from pathlib import Path

import click

from agent.cli._state import config_option, loaded_of
from agent.device.status_socket import ask
from agent.device.support import write


@click.command()
@click.argument("target", type=click.Path(path_type=Path), required=False)
@config_option
def command(target: Path | None, config: Path | None) -> None:
    """Write settings, findings, versions, status and the journal's last lines to TARGET (a .tar.gz).

    No password, key, user name, picture, window or audit entry goes in; look into it before you send it.

    \b
    Example:
      sudo fer-agent support-bundle /tmp/support.tar.gz
    """
    path = target or Path(time.strftime("fer-agent-support-%Y%m%d-%H%M%S.tar.gz"))
    names = write(path, loaded_of(config), ask)
    click.echo(f"{path}: {', '.join(names)}", err=True)
