"""Model updates: signed, tried, committed or rolled back, and never half (test_store_killed.py)."""

import shutil
from pathlib import Path

import pytest

from agent.errors import CannotWriteError, ModelError
from agent.trust.audit import verify
from agent.trust.inventory import listed
from agent.trust.store_state import MAX_STARTS, State
from tests.agent.trust.conftest import Device
from tests.agent.trust.signed_bundles import Signer, write_bundle
from tests.mounts import mounted


def test_the_package_model_runs_on_a_fresh_device(device: Device) -> None:
    """Without an installed model the package's own is used and nothing is written."""
    assert device.run(good=5) == "released"
    assert list(device.state.iterdir()) == []


def test_a_signed_bundle_is_tried_then_committed(device: Device) -> None:
    """Installed → used at the next start → committed by the third good window, and audited."""
    assert device.install("new") == "new"
    assert [(r.name, r.role, r.active) for r in listed(device.store())] == [
        ("a", "trial", True),
        (str(device.released), "package", False),
    ]
    assert device.run(good=2, bad=9) == "new"
    assert listed(device.store())[0].role == "trial"
    assert device.run(good=1) == "new"
    assert listed(device.store())[0].role == "committed"
    assert device.events() == ["model.installed", "model.committed"]
    assert verify(device.state).problems == ()


def test_bad_windows_commit_nothing(device: Device) -> None:
    """A hundred windows without a result leave the trial a trial."""
    device.install("new")
    device.run(bad=100)
    assert listed(device.store())[0].role == "trial"


def test_a_crash_loop_brings_the_old_model_back(device: Device) -> None:
    """After MAX_STARTS starts without a good window or a clean stop the model before it is used again."""
    device.commit("old")
    device.install("new", 2000)
    assert [device.run(crash=True) for _ in range(MAX_STARTS + 1)] == ["new"] * MAX_STARTS + ["old"]
    assert device.run() == "old"
    assert device.events()[-1] == "model.rolled-back"


def test_restarts_of_a_working_trial_are_no_crash_loop(device: Device) -> None:
    """Clean stops (holidays without a lesson), and a good window after each crash, keep the trial."""
    device.install("new")
    assert {device.run(bad=1) for _ in range(10)} == {"new"}
    device.install("newer", 2000)
    assert [device.run(crash=True), device.run(crash=True), device.run(good=1, crash=True), device.run(crash=True)] == [
        "newer"
    ] * 4


def test_looking_counts_no_start(device: Device) -> None:
    """`preview` names what the next start takes, as often as one likes, and changes nothing."""
    assert device.store().preview().card.id == "released"
    assert list(device.state.iterdir()) == []
    device.commit("old")
    device.install("new", 2000)
    before = {path: path.read_bytes() for path in device.state.rglob("*") if path.is_file()}
    assert {device.store().preview().card.id for _ in range(MAX_STARTS + 1)} == {"new"}
    assert {path: path.read_bytes() for path in device.state.rglob("*") if path.is_file()} == before
    device.broken = {"new"}
    assert device.store().preview().card.id == "old"
    device.broken = set()
    assert [device.run(crash=True) for _ in range(MAX_STARTS)] == ["new"] * MAX_STARTS
    assert device.store().preview().card.id == "old"


def test_a_model_that_computes_wrong_here_is_refused(device: Device) -> None:
    """Right hash and signature, wrong golden outputs: refused at install, and at start if the runtime changed since."""
    device.commit("old")
    device.broken = {"new"}
    with pytest.raises(ModelError):
        device.install("new", 2000)
    assert device.events()[-1] == "model.refused"
    assert [row.name for row in listed(device.store())] == ["a", str(device.released)]
    device.broken = set()
    assert device.run() == "old"
    device.install("new", 3000)
    device.broken = {"new"}
    assert device.run() == "old"
    assert device.events()[-2:] == ["model.refused", "model.rolled-back"]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink])
@pytest.mark.parametrize("name", ["model.tflite", "card.json", "golden.npz", "SHA256SUMS", "SHA256SUMS.minisig"])
def test_a_damaged_file_is_never_used(device: Device, name: str, damage) -> None:
    """Any file of a bundle flipped, cut, emptied or gone: not installed; and in use already, the last good one runs."""
    device.commit("old")
    bad = device.bundle("bad", 2000)
    damage(bad / name)
    with pytest.raises(ModelError):
        device.store().install(bad)
    device.commit("new", 3000)
    damage(device.state / "models" / "b" / name)
    assert device.run() == "old"
    assert "model.refused" in device.events()


def test_with_both_slots_damaged_the_package_model_runs(device: Device) -> None:
    """No installed model is whole: the package's own is used."""
    device.commit("old")
    device.commit("new", 2000)
    for slot in "ab":
        flip(device.state / "models" / slot / "model.tflite")
    assert device.run() == "released"


def test_an_unsigned_bundle_is_refused_and_audited(device: Device) -> None:
    """No signature: refused by name, with an entry in the audit log, and nothing was changed."""
    unsigned = write_bundle(device.root / "unsigned", "new", None)
    with pytest.raises(ModelError, match="not signed"):
        device.store().install(unsigned)
    assert device.events() == ["model.refused"]
    assert device.run() == "released"


def test_a_bundle_of_another_publisher_is_refused(device: Device) -> None:
    """Signed, but not by a trusted key."""
    with pytest.raises(ModelError, match=r"not in updates.keys"):
        device.store().install(device.bundle("new", signer=Signer()))


def test_a_card_edited_with_its_hashes_is_refused(device: Device) -> None:
    """A stolen card: model, card and SHA256SUMS rewritten consistently do not run, for the signature does not fit."""
    device.commit("good")
    slot = device.state / "models" / "a"
    forged = write_bundle(device.root / "forged", "forged", None)
    for name in ("model.tflite", "card.json", "golden.npz", "SHA256SUMS"):
        shutil.copy(forged / name, slot / name)
    assert device.run() == "released"


def test_an_older_bundle_needs_force(device: Device) -> None:
    """A bundle signed before the newest installed one is refused and audited; --force at the device allows it."""
    device.commit("new", 2000)
    with pytest.raises(ModelError, match="older than what was installed"):
        device.install("old", 1999)
    assert device.events()[-1] == "model.refused"
    assert device.store().install(device.root / "new-old-1999", force=True) == "old"


def test_a_rolled_back_model_still_bars_older_ones(device: Device) -> None:
    """The bar against downgrades is the newest ever installed, rolled back or not, its state file lost or not."""
    device.install("new", 2000)
    device.store().rollback()
    with pytest.raises(ModelError, match="older"):
        device.install("old", 1999)
    (device.state / "models" / "state.json").write_text("{")
    with pytest.raises(ModelError, match="older"):
        device.store().install(device.root / "new-old-1999")


def test_roll_back_goes_trial_old_package(device: Device) -> None:
    """`rollback` drops a trial, then goes to the model before, then to the package's own."""
    device.commit("first")
    device.commit("second", 2000)
    assert (device.store().rollback(), device.run()) == ("first", "first")
    device.install("third", 3000)
    assert device.run() == "third"
    assert (device.store().rollback(), device.run()) == ("first", "first")
    assert (device.store().rollback(), device.run()) == (str(device.released), "released")
    with pytest.raises(ModelError, match="nothing to roll back"):
        device.store().rollback()
    assert device.store().preview().card.id == device.run() == "released"
    assert [row.role for row in listed(device.store()) if row.active] == ["package"]


def test_what_was_rolled_back_is_no_fall_back(device: Device) -> None:
    """A model that was gone back from is not taken when the one before it is damaged; installed again it is tried."""
    device.commit("first")
    device.commit("second", 2000)
    device.store().rollback()
    flip(device.state / "models" / "a" / "model.tflite")
    assert device.run() == "released"
    device.store().install(device.state / "models" / "b")
    assert device.run() == "second"


def test_a_state_with_a_model_before_the_package_is_read(device: Device) -> None:
    """As agents up to now left it after a rollback: nothing committed, "a" before. The package's own runs."""
    device.commit("first")
    state = device.state / "models" / "state.json"
    state.write_bytes(State(committed=None, previous="a", newest=1000).text())
    assert device.run() == "released"
    with pytest.raises(ModelError, match="nothing to roll back"):
        device.store().rollback()


def test_nothing_to_roll_back(device: Device) -> None:
    """With the package's model in use, rollback says so."""
    with pytest.raises(ModelError, match="nothing to roll back"):
        device.store().rollback()


def test_windows_of_another_model_do_not_commit_a_trial(device: Device) -> None:
    """A trial installed while the agent runs is not committed by the windows of the model that still runs."""
    device.install("one")
    store = device.store()
    store.choose()
    device.install("two", 2000)
    for _ in range(10):
        store.record(True)
    assert [r.role for r in listed(device.store()) if r.id == "two"] == ["trial"]


@pytest.mark.parametrize(
    "content",
    [b'{"version": 1, "comm', b"[" * 100_000, b'{"version": 1, "committed": null, "previous": null, "newest": 1e999}',
     b'{"version": 1, "committed": null, "previous": null, "newest": 0, "trial": {"slot": "a", "digest": "x", '
     b'"good": null}}',
     b'{"version": 1, "committed": "a", "previous": null, "newest": 0, "trial": {"slot": null, "digest": "x"}}'],
    ids=["truncated", "too deep", "infinite", "a trial without a number", "a trial without a slot"],
)  # fmt: skip
def test_a_damaged_state_file_falls_back(device: Device, content: bytes) -> None:
    """state.json damaged: the package's model runs, the file is kept aside, the next install works."""
    device.commit("new")
    (device.state / "models" / "state.json").write_bytes(content)
    assert device.run() == "released"
    assert (device.state / "models" / "state.json.bad").is_file()
    device.commit("newer", 2000)


def test_a_newer_state_is_left_alone(device: Device) -> None:
    """After a downgrade of the agent: state.json of a newer version is not used, not changed, not deleted."""
    device.commit("new")
    state = device.state / "models" / "state.json"
    state.write_text('{"version": 99, "future": true}')
    assert device.run() == "released"
    assert state.read_text() == '{"version": 99, "future": true}'


def test_the_network_installs_what_is_on_the_device(device: Device) -> None:
    """`model-install` takes the folder name or the id of an offered, signed bundle; never an older one; no paths."""
    write_bundle(device.state / "models" / "offered" / "x", "offered-1", device.signer, 2000)
    write_bundle(device.state / "models" / "offered" / "y", "offered-0", device.signer, 1000)
    assert device.store().install_named("offered-1") == "offered-1"
    with pytest.raises(ModelError, match="older"):
        device.store().install_named("y")
    for ref in ("nothing", "../../new", str(device.bundle("outside", 9000)), "", "file:///etc", "http://x/y"):
        with pytest.raises(ModelError):
            device.store().install_named(ref)


def test_a_read_only_disk_keeps_the_committed_model(device: Device) -> None:
    """State that cannot be written: the committed model runs, a trial that cannot be counted does not."""
    device.commit("old")
    device.install("new", 2000)
    (device.state / "models" / "lock").unlink()
    (device.state / "models" / "lock").mkdir()  # root ignores modes; a folder in its place cannot be opened by anyone
    assert device.run(good=5) == "old"


def test_an_install_that_fails_gives_its_room_back(tmp_path: Path, signer: Signer) -> None:
    """On a full disk, and by a bundle that is refused: no draft stays."""
    with mounted("tmpfs", tmp_path / "small", "size=256k") as disk:
        device = Device(tmp_path, signer, disk / "state")
        source = write_bundle(tmp_path / "large", "new", signer, more=bytes(400_000))
        with pytest.raises(CannotWriteError, match="No space left"):
            device.store().install(source)
        assert not (device.state / "models" / "incoming").exists()
        device.broken = {"other"}
        with pytest.raises(ModelError):
            device.install("other", 2000)
        assert device.events() == ["model.refused"]
        assert not (device.state / "models" / "incoming").exists()
