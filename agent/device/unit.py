"""The unit (deploy/system/fer-agent.service): is it installed, are we its service, and what does it hide from that?"""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

UNIT: Final = "fer-agent.service"
FOLDER: Final = Path("/etc/systemd/system")
STATE: Final = Path("/var/lib/fer-agent")
"""The unit's StateDirectory=: all else on disk is read-only for the service (ProtectSystem=strict)."""
_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - refused, not written
"""What ProtectHome=yes and PrivateTmp=yes replace: the service finds an empty folder of its own there, or none."""


def installed() -> bool:
    """True where the service manager knows the unit."""
    return (FOLDER / UNIT).exists()


def is_the_service() -> bool:
    """True for what the service manager or `as_the_service` started: what it cannot read, the service cannot."""
    return "CREDENTIALS_DIRECTORY" in os.environ


def hides(path: Path) -> bool:
    """True if the service does not see what people see at the absolute `path`, or where it leads."""
    seen = (os.path.normpath(path), os.path.realpath(path))
    return any(Path(place).is_relative_to(hidden) for place in seen for hidden in _HIDDEN)


def may_write(folder: Path) -> bool:
    """True if the unit, with its drop-ins, lets the service write below the absolute `folder`."""
    try:
        asked = ["systemctl", "show", "--property=ReadWritePaths", "--value", UNIT]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.split()
    except (OSError, subprocess.SubprocessError):
        told = []
    own = Path(os.path.realpath(folder))
    return any(own.is_relative_to(os.path.realpath(re.sub("^[-+]+", "", path))) for path in (str(STATE), *told))
