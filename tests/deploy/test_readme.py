"""deploy/README.md says what is true; its links, commands and TOML are checked by `tests/test_docs.py`."""

import re
from pathlib import Path

from agent.config.file import load
from agent.insight.policy import check_policy

TEXT = (Path(__file__).resolve().parents[2] / "deploy" / "README.md").read_text()


def test_the_least_configuration_opens_a_camera(tmp_path: Path) -> None:
    """The TOML of the page is all that a live camera needs, and crosses no network in the clear."""
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "agent.toml").write_text(block)
    settings = load(tmp_path / "agent.toml", environ={}).settings
    check_policy(settings, live=True)
    assert settings.mqtt.tls
