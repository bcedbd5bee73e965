"""`fer-agent run`: the service."""

import logging
import sys
from pathlib import Path
from typing import Literal

import click

from agent.cli._state import act_as_owner
from agent.config.file import DEFAULT_PATH, load
from agent.config.reload import start_anew
from agent.device import logs
from agent.errors import FerAgentError


@click.command(epilog="Example: fer-agent run --config agent.toml")
@click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    metavar="FILE",
    help="Configuration; conf.d/*.toml beside it and FER_AGENT__… variables count, too.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(config: Path, log_format: Literal["text", "json"]) -> None:
    """Watch the configured camera and publish aggregate engagement, until it is stopped.

    A live camera starts only with a filled [policy] section: inferring emotions in education is prohibited in the EU
    (AI Act Art. 5(1)(f)) except for medical or safety reasons. SIGHUP reads the configuration again; started by hand,
    it ends with its terminal. A camera or broker that is not there is waited for. Exit code 78: the configuration, the
    policy or the model must be mended. As root it becomes the owner of the state folder; secrets that are root's alone
    reach it through the service manager only: systemctl start fer-agent.
    """
    from agent.service import Service

    logs.set_up(log_format)
    try:
        loaded = load(config)
        for line in loaded.warnings:
            logging.getLogger("agent").warning("event=config.unused detail=%r", line)
        act_as_owner(loaded.settings.agent.state_dir)  # before anything is written there
        again = Service(loaded, config).run()
    except FerAgentError:
        raise
    except Exception as error:
        logging.getLogger("agent").critical("event=crash error=%s reason=%r", type(error).__name__, str(error))
        logging.getLogger("agent").debug("event=crash.trace", exc_info=True)
        sys.exit(FerAgentError.exit_code)
    if again:
        start_anew()
