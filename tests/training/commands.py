"""What the tests of commands share: a small config, and how a command is called."""

import re
from pathlib import Path

from click.testing import CliRunner

from training import config

CONFIG = config.Config("cnn", "cnn", (config.Phase(1, 48),), batch=16)


def run(command: object, *arguments: object) -> tuple[int, str, str]:
    """Call a command; return its exit code, stdout and stderr."""
    done = CliRunner().invoke(command, [str(a) for a in arguments])
    return done.exit_code, done.stdout, done.stderr


def small(folder: Path, more: str = "") -> Path:
    """Write a config file of a CNN for one epoch, and return its path."""
    path = folder / "small.py"
    path.write_text(
        "from training.config import Config, Phase\n"
        f"CONFIG = Config(name='small', model='cnn', phases=(Phase(1, 48),), batch=8, optimizer='adamw', {more})\n"
    )
    return path


def alone(html: str) -> bool:
    """Return whether a page fetches nothing: no script, style or picture from elsewhere."""
    return not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"'](?!data:)", html)
