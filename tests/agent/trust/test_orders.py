"""What the network may order, and what it is told."""

import threading
from datetime import UTC
from pathlib import Path

import pytest

from agent.config import Hours, Updates
from agent.delivery import wire_commands
from agent.delivery.commands import Desk
from agent.delivery.link import Received
from agent.errors import TryAgainError
from agent.trust.audit import AuditLog
from agent.trust.orders import Orders
from agent.trust.pause import Pause
from agent.trust.sensing import Sensing
from agent.trust.store import ModelStore
from agent.vision.model_card import Bundle
from tests.agent.trust.signed_bundles import Signer, write_bundle
from tests.mqtt_world import speaker

SIGNER = Signer()


class Room:
    def __init__(self, root: Path) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.told: list[tuple[str, str, str]] = []
        self.pause = Pause(root / "pause", root)
        write_bundle(root / "released", "released", None)
        write_bundle(root / "models" / "offered" / "x", "new", SIGNER)
        updates, audit = Updates(keys=(SIGNER.public,)), AuditLog(root)
        self.models = ModelStore(root, updates, audit, accept=self.slow, released=str(root / "released"))
        self.sensing = Sensing((), self.pause)
        self.orders = Orders(
            self.pause, lambda: self.sensing.reason(), self.models, lambda *event: self.told.append(event)
        )

    def slow(self, bundle: Bundle) -> None:
        self.gate.wait(20)

    def order(self, name: str, **body: str) -> dict[str, object]:
        checked = wire_commands.COMMANDS[name].model_validate(body).model_dump(by_alias=True, exclude_none=True)
        return dict(self.orders.handlers[name](checked))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_pause_and_resume(room: Room, tmp_path: Path) -> None:
    """Off, on; and off with the reason while somebody in the room holds it."""
    assert room.order("pause", reason="fire drill") == {"sensing": "off"}
    assert room.pause.reason() == "paused"
    assert room.order("resume") == {"sensing": "on"}
    (tmp_path / "pause").touch()
    assert room.order("resume") == {"sensing": "off", "reason": "paused in the room"}
    assert (tmp_path / "pause").exists()


def test_a_resume_outside_the_schedule_says_that_sensing_is_off(room: Room) -> None:
    """The reply tells what holds now: the pause is gone, and the camera stays closed until the hours begin."""
    hours = Hours(days=("mon",), start="10:00", end="11:00")
    room.sensing = Sensing([hours], room.pause, zone=lambda: UTC, clock=lambda: 0.0)  # a Thursday
    room.order("pause")
    assert room.order("resume") == {"sensing": "off", "reason": "outside the schedule"}
    assert room.pause.reason() is None
    room.sensing = Sensing([hours], room.pause, zone=lambda: UTC, clock=lambda: 4 * 86_400 + 10.5 * 3600)
    assert room.order("resume") == {"sensing": "on"}


def test_a_pause_that_cannot_be_removed_holds_and_is_told(room: Room, tmp_path: Path) -> None:
    """Something else stands where the network's pause is kept: `resume` is answered with why, sensing stays off until
    one is done, also when the file went by other means meanwhile."""
    (tmp_path / "pause.remote").mkdir()
    assert room.order("pause") == {"sensing": "off"}
    desk = Desk(speaker(), room.orders.handlers, lambda *_: (), lambda: 0)
    (_, reply, _) = desk.answer(Received(speaker().topics("cmd/resume"), b"{}", False, None, None))
    assert (reply.ok, reply.error) == (False, "the pause cannot be removed (Is a directory); it holds")
    assert (room.pause.reason(), room.sensing.reason()) == ("paused", "paused")
    (tmp_path / "pause.remote").rmdir()
    assert room.pause.reason() == "paused"
    assert room.order("resume") == {"sensing": "on"}


def test_an_install_is_accepted_then_told(room: Room) -> None:
    """The reply comes at once, the result as an event, and the next start takes the model."""
    room.gate.clear()
    assert room.order("model-install", bundle="new") == {"accepted": "new"}
    assert room.told == []
    with pytest.raises(TryAgainError):
        room.order("model-install", bundle="new")
    room.gate.set()
    assert room.orders.wait(20)
    assert room.told == [("model", "installed", "new")]
    assert room.models.choose().card.id == "new"


@pytest.mark.parametrize("ref", ["nothing", "../x", "https://models.example.org/x", "http://127.0.0.1/x", ""])
def test_what_must_not_be_installed_is_told(room: Room, ref: str) -> None:
    """Unknown ids, paths, origins that are not allowed: told as refused, and the released model runs."""
    room.order("model-install", bundle=ref)
    assert room.orders.wait(20)
    assert [event[:2] for event in room.told] == [("model", "refused")]
    assert room.models.choose().card.id == "released"


def test_the_contract_knows_these_commands(room: Room) -> None:
    """Every handler is a command of the contract."""
    assert set(room.orders.handlers) <= set(wire_commands.COMMANDS)
