"""Reading a signed bundle: the signature first, and nothing outside its folder."""

from pathlib import Path

import pytest

from agent.errors import ModelError
from agent.trust.signed_bundle import SIGNATURE, from_folder, read_signed
from agent.vision.model_card import SUMS
from tests.agent.trust.signed_bundles import Signer, write_bundle


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "x/model.tflite", "model.tflite ", ".", ""])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    """A signed SHA256SUMS that lists another name than a bundle's is refused before that file is read."""
    signer, asked = Signer(), []
    sums = f"{'0' * 64}  {name}\n".encode()

    def read(file: str, limit: int) -> bytes:
        asked.append(file)
        return {SUMS: sums, SIGNATURE: signer.sign(sums).encode()}[file]

    with pytest.raises(ModelError, match="expected the SHA-256 of one of"):
        read_signed(read, (signer.public,), "x")
    assert asked == [SUMS, SIGNATURE]


def test_nothing_is_read_before_the_signature_fits(tmp_path: Path) -> None:
    """With a wrong signature the model file is not even opened."""
    bundle, asked = write_bundle(tmp_path / "b", "b", Signer()), []

    def read(file: str, limit: int) -> bytes:
        asked.append(file)
        return from_folder(bundle)(file, limit)

    with pytest.raises(ModelError, match=r"not in updates\.keys"):
        read_signed(read, (Signer().public,), "x")
    assert asked == [SUMS, SIGNATURE]


@pytest.mark.parametrize("name", [".", "../b", ".."])
def test_a_folder_may_be_named_by_dots(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fer-agent models verify .` loads what was read, whatever the folder is called."""
    signer = Signer()
    bundle = write_bundle(tmp_path / "b", "b", signer)
    (bundle / "inner").mkdir()
    monkeypatch.chdir(bundle / "inner" if name == ".." else bundle)
    loaded = read_signed(from_folder(Path(name)), (signer.public,), name).load(Path(name))
    assert (loaded.card.id, loaded.path) == ("b", Path(name))


def test_a_file_larger_than_its_limit_is_refused(tmp_path: Path) -> None:
    """A card of a gigabyte is not read into memory."""
    signer = Signer()
    bundle = write_bundle(tmp_path / "b", "b", signer)
    with (bundle / "card.json").open("r+b") as file:
        file.truncate(1 << 30)  # sparse: takes no room on the disk
    with pytest.raises(ModelError, match="at most 1048576 bytes"):
        read_signed(from_folder(bundle), (signer.public,), "x")
